"""The attack on next-word updates: which words were typed, read off what training changed.

Every step lowers the output bias of all words a little and raises those of the words that were typed. So a bias that
rose was typed, whatever the order, the batches and the number of steps (Suliman and Leith 2022, arXiv 2210.16947,
section 4). The bias of a common word may fall although it was typed, since more of it was expected. The embedding gives
most of these away: rows of words that were not typed are moved by the output layer only, each by its bias's change
times nearly the same vector; a row that moved otherwise was read as input (arXiv 1805.04049, section 4.2).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.plan import TensorSpec

Vector = npt.NDArray[np.float64]
Ids = frozenset[int]

ERRORS_ABOVE = 2.0
"""Deviations of its noise by which a bias must have risen."""
ROW_ERRORS_ABOVE = 3.0
ROW_TIMES_USUAL = 4.0
"""A row is read as input if it moved this many times further from what its bias explains than rows usually do."""
_REFINEMENTS = 3


class Seen(NamedTuple):
    """What an adversary sees of one device or of a group.

    Attributes:
      update: float64 [num_weights], an update or a sum of them; any scale.
      error: standard deviation of what rounding and noise added to a coordinate, which protocol and plan tell.

    """

    update: Vector
    error: float


class _Output(NamedTuple):
    """Changes of the output layer: of the biases, [words], and of the tied embedding's rows, [words, width]."""

    bias: Vector
    rows: Vector


def name_words(seen: Seen, specs: Sequence[TensorSpec], candidates: Sequence[int]) -> Ids:
    """Names the words that were typed, knowing nothing of the device.

    Args:
      seen: by the adversary.
      specs: the update's tensors, `embedding` and `output_bias` among them.
      candidates: ids of words that may be named.

    """
    ids = np.array(candidates)
    changes = _changes(seen.update, specs, ids)
    named = (changes.bias > ERRORS_ABOVE * seen.error) | _was_input(changes, seen.error)
    return frozenset(ids[named].tolist())


def bias_changes(update: Vector, specs: Sequence[TensorSpec], candidates: Sequence[int]) -> Vector:
    """By how much the output biases of `candidates` changed, float64 as many, in the update's unit."""
    return _changes(update, specs, np.array(candidates)).bias


def _was_input(changes: _Output, error: float) -> npt.NDArray[np.bool_]:
    """Rows that moved otherwise than output alone explains."""
    size = np.abs(changes.bias)
    explained = changes.bias < 0  # for a start: those that rose were typed, and are likely to have been read, too
    usual = 0.0
    for _ in range(_REFINEMENTS if explained.any() else 0):
        common = changes.bias[explained] @ changes.rows[explained] / np.square(changes.bias[explained]).sum()
        apart = np.linalg.norm(changes.rows - changes.bias[:, np.newaxis] * common, axis=1)
        usual = float(np.median(apart[explained] / size[explained]))
        explained &= apart <= 2 * usual * size
        if not explained.any():
            break
    else:
        if usual > 0:
            width = changes.rows.shape[1]
            blur = error * (math.sqrt(width) + ROW_ERRORS_ABOVE)
            found: npt.NDArray[np.bool_] = apart > ROW_TIMES_USUAL * usual * size + blur
            return found
    return np.zeros(size.size, np.bool_)


def _changes(update: Vector, specs: Sequence[TensorSpec], ids: npt.NDArray[np.int64]) -> _Output:
    offsets = dict(zip((spec.name for spec in specs), np.cumsum([0, *(spec.size for spec in specs)]), strict=False))
    shapes = {spec.name: spec.shape for spec in specs}
    words, width = shapes["embedding"]
    rows = update[offsets["embedding"] :][: words * width].reshape(words, width)
    bias = update[offsets["output_bias"] :][:words]
    return _Output(bias[ids].astype(np.float64), rows[ids].astype(np.float64))
