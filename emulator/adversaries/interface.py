"""What an adversary may do: type what it likes, touch its own disk, and speak to the service as it likes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import requests

from device_runtime.rounds.outcome import Outcome

if TYPE_CHECKING:
    from emulator.device import EmulatedDevice, World


@dataclass(frozen=True, slots=True)
class Adversary:
    """An honest device; kinds of adversaries replace what they do otherwise. Its own runtime stays the real one."""

    name: ClassVar[str] = "honest"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """What is typed on it in place of `texts`."""
        return texts

    def session(self, session: requests.Session) -> requests.Session:
        """How it speaks to the service."""
        return session

    def after_step(self, device: "EmulatedDevice", world: "World", outcome: Outcome) -> None:
        """What it does after each step of its agent."""


HONEST = Adversary()
