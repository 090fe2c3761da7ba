"""A violator: what it reports is not what the protocol allows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from device_runtime.rounds.agent_state import StateFile, Trained
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.spool import Spool
from emulator.adversaries.interface import Adversary

if TYPE_CHECKING:
    from emulator.device import EmulatedDevice, World


@dataclass(frozen=True, slots=True)
class Violator(Adversary):
    """Sends half of its update, or one of another format, in turn; every other one is well-formed and full of NaN."""

    name: ClassVar[str] = "violating"

    def after_step(self, device: "EmulatedDevice", world: "World", outcome: Outcome) -> None:
        """Spoils the update that training left."""
        folder = device.folder / world.population
        if outcome.event is not Event.TRAINED:
            return
        phase = StateFile(folder / "agent.json").load().phase
        if isinstance(phase, Trained):
            assignment_id, spool = phase.selected.assignment_id, Spool(folder)
            held = spool.get(assignment_id)
            header = held[:12]
            spoilt = (held[: len(held) // 2], b"\xff" * len(held), header + b"\xff" * (len(held) - 12))
            spool.put(assignment_id, spoilt[int(assignment_id, 16) % len(spoilt)])
