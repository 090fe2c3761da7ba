"""Sums of updates in float64, and the clip that bounds what one update adds to them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.errors import NonFiniteUpdate
from protocol.update import ScaledUpdate

SumArray = npt.NDArray[np.float64]

_CHUNK = 1 << 18
"""Weights at a time: 2 MB in float64 stay in the processor's cache, and no vector is ever converted as a whole."""

_JUST_BELOW_ONE = 1 - 2.0**-50


class TakenSum(NamedTuple):
    """A finished sum: float64 [update_size], and how many updates are in it."""

    total: SumArray
    num_updates: int


class ClippedUpdate(NamedTuple):
    """An update that may be added to a sum: `scale * values`, its norm bounded, and whether it was shortened."""

    values: npt.NDArray[np.float32] | npt.NDArray[np.int16]
    scale: float
    was_clipped: bool


def clip_scaled(update: ScaledUpdate, l2_clip_norm: float) -> ClippedUpdate:
    """Clips an update by lowering its scale; its values stay where they were received.

    Args:
      update: as `protocol.update.read_update` gives it.
      l2_clip_norm: C > 0, in units of weight change.

    Guarantees:
      The norm of `scale * values` is at most C, computed in float64 (of int16 values exactly, up to 8 million weights).

    | update                 | result            |
    |------------------------|-------------------|
    | zero, or scale zero    | zero, not clipped |
    | norm <= C              | itself            |
    | norm > C               | norm <= C         |
    | NaN or inf             | raises            |

    Raises:
      NonFiniteUpdate: a diverged training run must never reach the sum.

    Source: McMahan et al. 2018, arXiv 1710.06963, algorithm 1.

    """
    norm = update.scale * math.sqrt(_squared_norm(update.values))
    if not math.isfinite(norm):  # float32 squares cannot overflow float64: one of the values was not finite
        raise NonFiniteUpdate("an update must be finite")
    if norm <= l2_clip_norm:
        return ClippedUpdate(update.values, update.scale, was_clipped=False)
    return ClippedUpdate(update.values, update.scale * (l2_clip_norm / norm) * _JUST_BELOW_ONE, was_clipped=True)


class PartialSum:
    """What one worker summed of one round: a total that grows in two steps, so that it can be stored in between.

    `propose` computes the next total beside the present one, `accept` makes it the present one. Not thread-safe:
    whoever stores it must let one flush end before the next begins anyway.

    Guarantees:
      Memory is two float64 vectors, whatever the cohort. A proposal that is not accepted leaves no trace.
    """

    def __init__(self, size: int) -> None:
        self._total = np.zeros(size, np.float64)
        self._proposed = np.empty(size, np.float64)
        self._num_proposed = 0
        self.num_updates = 0

    @property
    def total(self) -> SumArray:
        """float64 [size]: the sum of the updates accepted so far."""
        return self._total

    def propose(self, updates: Sequence[ClippedUpdate]) -> TakenSum:
        """Adds up the present total and `updates`, without accepting them.

        Returns:
          The next total; its vector is valid until the next proposal.

        Raises:
          ValueError: an update of another size.

        """
        for update in updates:
            if update.values.shape != self._total.shape:
                raise ValueError(f"update must have shape {self._total.shape}, got {update.values.shape}")
        added = np.empty(min(_CHUNK, self._total.size), np.float64)
        for start in range(0, self._total.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = self._proposed[part]
            np.copyto(chunk, self._total[part])
            for update in updates:
                np.multiply(update.values[part], update.scale, out=added[: chunk.size], dtype=np.float64)
                np.add(chunk, added[: chunk.size], out=chunk)
        self._num_proposed = self.num_updates + len(updates)
        return TakenSum(self._proposed, self._num_proposed)

    def accept(self) -> None:
        """Makes what was proposed last the present total."""
        self._total, self._proposed = self._proposed, self._total
        self.num_updates = self._num_proposed


def _squared_norm(values: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> float:
    """In float64, without a copy of the values in it, and in one call, so that threads do not hand over in between."""
    return float(np.einsum("i,i->", values, values, dtype=np.float64))
