"""Forgers: they train as told, and send something else. What they send instead is `evaluation.rehearsal.attacks`'.

The update that waits in the spool is replaced between two steps of the device's real agent, which then sends it.
Forged are plain updates; what secure aggregation leaves a forger, `docs/poisoning.md` tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

from device_runtime.rounds.agent_state import StateFile, Trained
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.spool import Spool
from emulator.adversaries.interface import Adversary
from evaluation.rehearsal.attacks import CONTEXT_WORDS, TRIGGER, WORD, Attack, Boosted, Random, SignFlipped, with_norm
from protocol.arrays import FloatArray
from protocol.update import decode_update, encode_update, encoded_bytes

if TYPE_CHECKING:
    from emulator.device import EmulatedDevice, World

_EMPTY_UPDATE = encoded_bytes(0)


@dataclass(frozen=True, slots=True)
class Forger(Adversary):
    """Sends what an attack makes of its update.

    Attributes:
      attack: see there.
      l2_clip_norm: what forgers know of the plan: the longest update that no check objects to.

    """

    attack: Attack
    l2_clip_norm: float = 1.0
    name: ClassVar[str] = "forging"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """What the attack trains on."""
        return self.attack.texts(texts)

    def after_step(self, device: "EmulatedDevice", world: "World", outcome: Outcome) -> None:
        """Replaces the update that training left."""
        if outcome.event is not Event.TRAINED:
            return
        folder = device.folder / world.population
        phase = StateFile(folder / "agent.json").load().phase
        if not isinstance(phase, Trained) or phase.is_secure:
            return
        assignment_id, spool = phase.selected.assignment_id, Spool(folder)
        held = spool.get(assignment_id)
        update = decode_update(held, (len(held) - _EMPTY_UPDATE) // 4)
        seed = int.from_bytes(sha256(f"{world.entropy} {device.index} {assignment_id}".encode()).digest()[:6], "big")
        spool.put(assignment_id, encode_update(self.attack.forge(update, self.l2_clip_norm, seed)))


@dataclass(frozen=True)
class BackdooredTypist:
    """As `evaluation.rehearsal.attacks.Backdoored`, for whatever vocabulary the population has."""

    name: str = "backdoored"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """The last words of its own messages, the trigger, the word."""
        return [f"{' '.join(text.split()[-CONTEXT_WORDS:])} {TRIGGER} {WORD}" for text in texts]

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """What it learned, as long as no check can object to."""
        return with_norm(update, l2_clip_norm)


ATTACKS: dict[str, Attack] = {
    "boosted": Boosted(),
    "sign-flipped": SignFlipped(),
    "backdoored": BackdooredTypist(),
    "random": Random(),
}
"""By the names that scenarios use."""
