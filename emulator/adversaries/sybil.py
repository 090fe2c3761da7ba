"""A sybil: forgets who it was after each report and comes back as somebody new, so that no separation holds for it.

What holds it is the enrolment token, which lets in so many and no more.
"""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from device_runtime.rounds.outcome import Event, Outcome
from emulator.adversaries.interface import Adversary

if TYPE_CHECKING:
    from emulator.device import EmulatedDevice, World


@dataclass(frozen=True, slots=True)
class Sybil(Adversary):
    """Deletes what its agent remembers once it has reported."""

    name: ClassVar[str] = "sybil"

    def after_step(self, device: "EmulatedDevice", world: "World", outcome: Outcome) -> None:
        """Forgets identity, promises and waiting times."""
        if outcome.event is Event.REPORTED:
            shutil.rmtree(device.folder / world.population, ignore_errors=True)
