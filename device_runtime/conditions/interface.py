"""The five conditions, and where they come from. What cannot be read does not hold, and says why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

CONDITIONS = ("idle", "charging", "unmetered", "charged", "cool")
"""In the order in which they are told."""


class Unreadable(Exception):
    """A condition that cannot be read here and now; the message says why, and names what would help."""


class Reading(NamedTuple):
    """One condition.

    Attributes:
      holds: whether it does; False where it cannot be read.
      why: what was read, beside the threshold it was held against. Never anything that was typed, nor a network's name.

    """

    holds: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a device's owner never notices training under. What cannot be read counts as False.

    Attributes:
      idle: nobody uses the device.
      charging: it runs on mains, or has no battery.
      unmetered: its network costs nothing by the byte.
      charged: its battery is full enough. Made-up devices have no battery to run down.
      cool: it is not hot. Made-up devices never are.
      why: what was read, by condition; may lack any.

    """

    idle: bool
    charging: bool
    unmetered: bool
    charged: bool = True
    cool: bool = True
    why: Mapping[str, str] = field(default_factory=dict)

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
        return tuple(name for name in CONDITIONS if not getattr(self, name))

    def explain(self) -> str:
        """One sentence on what is missing, empty if nothing is.

        >>> Conditions(idle=False, charging=False, unmetered=True, why={"idle": "a key was pressed 3 s ago"}).explain()
        'not idle: a key was pressed 3 s ago; not charging'
        """
        reasons = {name: self.why.get(name, "") for name in self.missing}
        return "; ".join(f"not {name}: {why}" if why else f"not {name}" for name, why in reasons.items())


class ConditionsSource(Protocol):
    """Where conditions are read from: Linux, Android, a script.

    The agent polls it before every training step and during transfers, so `read` is quick; `watcher.WatchedConditions`
    makes a slow source quick.
    """

    def read(self) -> Conditions:
        """The conditions of this moment. Never raises: what cannot be read does not hold."""
        ...


class AlwaysEligible:
    """For a desk run: somebody asked for training now."""

    def read(self) -> Conditions:
        """All conditions hold."""
        return gather({name: lambda: Reading(True, "asked for, not read") for name in CONDITIONS})


class NeverEligible:
    """For a machine whose conditions cannot be read."""

    def __init__(self, why: str = "no way to read this is known"):
        self._why = why

    def read(self) -> Conditions:
        """No condition holds."""
        return gather({name: lambda: Reading(False, self._why) for name in CONDITIONS})


def gather(probes: Mapping[str, Callable[[], Reading]]) -> Conditions:
    """Reads every condition by its probe.

    Args:
      probes: by the names in `CONDITIONS`, all of them. A probe that raises `Unreadable` or `OSError` gives a
        condition that does not hold, with the error's message as the reason.

    """
    readings = {name: _read(probes[name]) for name in CONDITIONS}
    return Conditions(
        **{name: reading.holds for name, reading in readings.items()},
        why={name: reading.why for name, reading in readings.items()},
    )


def _read(probe: Callable[[], Reading]) -> Reading:
    try:
        return probe()
    except Unreadable as error:
        return Reading(False, str(error))
    except OSError as error:
        return Reading(False, f"the system refuses: {error.strerror or type(error).__name__}")
