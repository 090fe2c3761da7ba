"""When a device may train and use the network: idle, charging, on an unmetered network."""

from dataclasses import dataclass, fields
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a device's owner never notices training under. What cannot be read counts as False."""

    idle: bool
    charging: bool
    unmetered: bool

    @property
    def eligible(self) -> bool:
        """Whether training, downloads and uploads may run."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the conditions that do not hold.

        >>> Conditions(idle=True, charging=False, unmetered=True).missing
        ('charging',)
        """
        return tuple(field.name for field in fields(self) if not getattr(self, field.name))


class ConditionsSource(Protocol):
    """Where conditions are read from: Linux, Android, a script. Polled before every training step, so it is quick."""

    def read(self) -> Conditions:
        """The conditions of this moment."""
        ...


class AlwaysEligible:
    """For a desk run: somebody asked for training now."""

    def read(self) -> Conditions:
        """All conditions hold."""
        return Conditions(idle=True, charging=True, unmetered=True)


class NeverEligible:
    """For a machine whose conditions cannot be read."""

    def read(self) -> Conditions:
        """No condition holds."""
        return Conditions(idle=False, charging=False, unmetered=False)
