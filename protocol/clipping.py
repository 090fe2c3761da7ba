"""Clipping: what bounds the sensitivity of everything that is computed from an update.

Runs on the device before an update is sent, and again on the service, which trusts no device.
"""

import math
from typing import NamedTuple

import numpy as np

from protocol.arrays import FloatArray
from protocol.errors import NonFiniteUpdate


class Clipped(NamedTuple):
    """A clipped update, and whether it was shortened (the bit that adaptive clipping counts)."""

    update: FloatArray
    was_clipped: bool


def l2_norm(update: FloatArray) -> float:
    """Euclidean norm of `update`, summed in float64 so that a million small squares are not lost."""
    return math.sqrt(float(np.einsum("i,i->", update, update, dtype=np.float64)))


def clip_to_norm(update: FloatArray, l2_clip_norm: float) -> Clipped:
    """Scales `update` so that its L2 norm is at most `l2_clip_norm`.

    Args:
      update: float32 [num_weights], the local weights minus the checkpoint's.
      l2_clip_norm: C > 0, in units of weight change.

    Returns:
      The clipped update, a new array if it was shortened, and whether it was.

    Guarantees:
      `l2_norm(result) <= l2_clip_norm`, also after the float32 rounding of the scaling itself; clipping twice gives
      the same as clipping once.

    | update                   | result            |
    |--------------------------|-------------------|
    | zero                     | zero, not clipped |
    | norm <= C                | itself            |
    | norm > C                 | norm <= C         |
    | empty                    | empty             |
    | NaN or inf               | raises            |
    | finite, norm overflows   | norm <= C         |

    Raises:
      NonFiniteUpdate: a diverged training run must never reach the sum.
      ValueError: `l2_clip_norm` is not a positive finite number.

    Source: McMahan et al. 2018, arXiv 1710.06963, algorithm 1.

    """
    if not (l2_clip_norm > 0 and math.isfinite(l2_clip_norm)):
        raise ValueError(f"l2_clip_norm must be a finite number > 0, got {l2_clip_norm}")
    if not np.isfinite(update).all():
        raise NonFiniteUpdate("an update must be finite")
    norm = l2_norm(update)
    if norm <= l2_clip_norm:
        return Clipped(update, was_clipped=False)
    scale = l2_clip_norm / norm
    clipped = (update * np.float64(scale)).astype(np.float32)
    while l2_norm(clipped) > l2_clip_norm:  # rounding up may pass C by some 1e-8: one or two passes end it
        scale *= 1 - 2.0**-24
        clipped = (update * np.float64(scale)).astype(np.float32)
    return Clipped(clipped, was_clipped=True)
