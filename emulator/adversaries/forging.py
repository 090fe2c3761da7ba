"""Forgers: they train as told, and send something else. What they send instead is `evaluation.rehearsal.attacks`'.

The update that waits in the spool is replaced between two steps of the device's real agent, which then sends it. Under
secure aggregation it is replaced before it is masked, and is what a modified encoder could make: as long as the lanes
hold, whatever the real encoder bounds. What that comes to, `docs/poisoning.md` tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from device_runtime.network.file_cache import FileCache
from device_runtime.rounds.agent_state import StateFile, Trained
from device_runtime.rounds.configuration import PLAN
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.secure_report import task_of
from device_runtime.rounds.spool import Spool
from emulator.adversaries.interface import Adversary
from evaluation.rehearsal.attacks import CONTEXT_WORDS, TRIGGER, WORD, Attack, Boosted, Random, SignFlipped, with_norm
from evaluation.rehearsal.ways import encode_forged
from protocol.arrays import FloatArray
from protocol.keystream import Keystream
from protocol.manifest import decode_manifest
from protocol.messages import Selected
from protocol.plan import decode_plan
from protocol.secure_aggregation.inputs import decode_sum, terms_of
from protocol.secure_aggregation.packing import pack, unpack
from protocol.update import decode_update, encode_update, encoded_bytes

if TYPE_CHECKING:
    from emulator.device import EmulatedDevice, World

_EMPTY_UPDATE = encoded_bytes(0)
_ROUNDING = b"keychorus emulated forger v1"


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
        if not isinstance(phase, Trained):
            return
        spool, selected = Spool(folder), phase.selected
        held = spool.get(selected.assignment_id)
        seed = sha256(f"{world.entropy} {device.index} {selected.assignment_id}".encode()).digest()
        forged = self._lanes(held, folder, selected, seed) if phase.is_secure else self._plain(held, seed)
        spool.put(selected.assignment_id, forged)

    def _plain(self, held: bytes, seed: bytes) -> bytes:
        return encode_update(self._forge(decode_update(held, (len(held) - _EMPTY_UPDATE) // 4), seed))

    def _lanes(self, held: bytes, folder: Path, selected: Selected, seed: bytes) -> bytes:
        """The same by the plan that the device has kept, in place of lanes that its own encoder made."""
        manifest = decode_manifest(selected.manifest.manifest)
        content = FileCache(folder / "cache").get(manifest.files[PLAN])
        if content is None:
            raise FileNotFoundError(f"{folder} must hold the round's plan after training")
        plan, task = decode_plan(content), task_of(manifest, selected.round_id)
        bits = terms_of(plan, task).value_bits
        update = decode_sum(unpack(held, plan.update_size, bits), plan, task, 1).astype(np.float32)
        draws = Keystream(seed, _ROUNDING)
        return pack(encode_forged(self._forge(update, seed), plan, task, draws), bits)

    def _forge(self, update: FloatArray, seed: bytes) -> FloatArray:
        return self.attack.forge(update, self.l2_clip_norm, int.from_bytes(seed[:6], "big"))


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
