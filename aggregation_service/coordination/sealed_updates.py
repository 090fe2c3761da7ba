"""Single updates as they lie in the database, where a rule needs each of them (`rounds.combining`): sealed, in parts.

They lie where else the workers' sums do (`storage.partial_sums`), each by the name of its assignment, as if that were
a worker: what is stored twice is there once, and goes when the round's sums go. Each costs 4 bytes a weight, as
little-endian float32: that moves a weight by 2^-24 of itself at most, and float64 would cost twice as much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aggregation_service.coordination.sealed_sums import PART_WEIGHTS
from aggregation_service.coordination.sealing import NotSealed, RoundKey, seal
from aggregation_service.rounds.accumulator import ClippedUpdate, SumArray
from aggregation_service.rounds.combining import Combining, Mean, RobustRule
from aggregation_service.storage.models import Task
from aggregation_service.storage.partial_sums import SealedPart
from protocol.arrays import FloatArray
from protocol.plan import Plan

PIECE_WEIGHTS = 1 << 24
"""64 MB of float32: the same part of all updates, which are in memory together when a round closes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a round's updates are cut into parts, the same for worker and leader.

    Attributes:
      round_id: the round.
      size: weights of an update.
      part_weights: of a part: so many that as many updates as the round wants are one piece.

    """

    round_id: str
    size: int
    part_weights: int

    @classmethod
    def of(cls, round_id: str, plan: Plan) -> "Layout":
        """The layout of a round's updates."""
        part_weights = max(1, min(PART_WEIGHTS, PIECE_WEIGHTS // plan.privacy.report_goal))
        return cls(round_id=round_id, size=plan.update_size, part_weights=part_weights)

    @property
    def parts(self) -> list[slice]:
        """Where in an update its parts are."""
        starts = range(0, self.size, self.part_weights)
        return [slice(start, min(start + self.part_weights, self.size)) for start in starts]

    def context(self, assignment_id: str, part: int) -> bytes:
        """Binds a part to its place, and says that it is of an update: it is no part of any sum."""
        return f"update/{self.round_id}/{assignment_id}/{part}".encode()


def rule_of(task: Task) -> Combining:
    """How a task's updates become one. An evaluation's hits and counts are always summed: every device counts."""
    return task.parameters.combining if task.kind == "training" else Mean()


def seal_update(key: bytes, layout: Layout, assignment_id: str, update: ClippedUpdate) -> list[SealedPart]:
    """Worker: seals one update to the round's public key, 32 bytes."""
    parts = []
    for number, place in enumerate(layout.parts):
        values = np.multiply(update.values[place], update.scale, dtype=np.float64).astype("<f4")
        parts.append(
            SealedPart(assignment_id, number, 1, seal(key, values.data, layout.context(assignment_id, number)))
        )
    return parts


def combine_updates(
    key: RoundKey,
    layout: Layout,
    rule: RobustRule,
    places: Sequence[tuple[str, int]],
    read: Callable[[str, int], SealedPart],
) -> SumArray:
    """Leader: combines all updates, the same part of each at a time, in memory for `PIECE_WEIGHTS`.

    Args:
      key: the round's.
      layout: of its updates.
      rule: how they are combined.
      places: whose parts are stored: assignment ids and numbers, in any order.
      read: reads the part of one place.

    Returns:
      float64 [size].

    Raises:
      NotSealed: a part is damaged, of another place, missing, or there twice.
      ValueError: there are no updates.
      NonFiniteUpdate: whoever sealed an update had not checked it.

    """
    ids = sorted({assignment_id for assignment_id, _ in places})
    if sorted(places) != [(assignment_id, part) for assignment_id in ids for part in range(len(layout.parts))]:
        raise NotSealed(f"each update must have {len(layout.parts)} parts, each once")
    combined = np.empty(layout.size, np.float64)
    for number, place in enumerate(layout.parts):
        piece = np.empty((len(ids), place.stop - place.start), np.float32)  # [num_updates, weights of the part]
        for row, assignment_id in zip(piece, ids, strict=True):
            _open_into(row, key, read(assignment_id, number), layout.context(assignment_id, number))
        combined[place] = rule.combine(piece)
    return combined


def _open_into(row: FloatArray, key: RoundKey, part: SealedPart, context: bytes) -> None:
    opened = key.open(part.sealed, context)
    if len(opened) != 4 * row.size:
        raise NotSealed(f"part {part.part} of an update must hold {row.size} numbers, got {len(opened) // 4}")
    row[:] = np.frombuffer(opened, "<f4")
