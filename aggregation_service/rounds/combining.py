"""How a round's plain updates become one: by their mean, or by a rule that a few hostile updates cannot carry away.

The mean streams: it needs the sum of the updates only. The robust rules order the updates coordinate by coordinate, so
they need every single one, as long as the round lasts; and how far one device moves their result in L2 norm is not
bounded well enough for noise, so that they come without any.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from aggregation_service.rounds.accumulator import SumArray
from protocol.errors import NonFiniteUpdate

Updates = npt.NDArray[np.float32] | npt.NDArray[np.float64]
"""[num_updates, size]: updates, or the same part of each."""

LEAST_UPDATES = 3
"""With fewer nothing can be told to be extreme, and each rule is a mean."""

MAX_KEPT_UPDATES = 10_000
"""Most reports of a round that keeps each of them: 57 GB at full size."""

_COLUMNS = 1 << 10
"""Coordinates that are ordered at a time: the copy that this takes stays small beside the updates."""


class Mean(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="mean"):
    """The sum divided by the report goal, with noise where the plan wants it: `coordination.noise.add_noise`."""


class Median(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="median"):
    """Of each coordinate the median: `coordinate_median`."""

    @property
    def name(self) -> str:
        """For people."""
        return "coordinate-wise median"

    def combine(self, updates: Updates) -> SumArray:
        """Combines [num_updates, size] to float64 [size]; raises what `coordinate_median` does."""
        return coordinate_median(updates)


class TrimmedMean(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="trimmed-mean"
):
    """Of each coordinate the mean without its extremes: `trimmed_mean`.

    Attributes:
      trim: share of the updates that is cut off at each end, 0 < trim < 0.5.

    Raises:
      ValueError: out of that bound.

    """

    trim: float = 0.1

    def __post_init__(self) -> None:
        _check_trim(self.trim)

    @property
    def name(self) -> str:
        """For people."""
        return f"coordinate-wise mean without the {100 * self.trim:g} % at each end"

    def combine(self, updates: Updates) -> SumArray:
        """Combines [num_updates, size] to float64 [size]; raises what `trimmed_mean` does."""
        return trimmed_mean(updates, self.trim)


RobustRule = Median | TrimmedMean
"""The rules that need each update."""

Combining = Mean | RobustRule
"""Any rule; frozen with its task."""


def coordinate_median(updates: Updates) -> SumArray:
    """Takes the median of each coordinate.

    Args:
      updates: [num_updates, size], finite.

    Returns:
      float64 [size], rounded nowhere but in the halving of a sum.

    Guarantees:
      The order of the updates does not matter, and `updates` stays as it was. While fewer than half of the updates are
      hostile, each coordinate lies between two honest ones.

    | num_updates | each coordinate is                       |
    |-------------|------------------------------------------|
    | 0           | raises                                   |
    | 1           | that update's: protects from nothing     |
    | 2           | the mean of both: protects from nothing  |
    | odd         | the middle value: one device's very own  |
    | even        | the mean of the two middle values        |

    Equal values count as often as they are there. NaN or inf anywhere raises.

    Raises:
      ValueError: no updates, or not of shape [num_updates, size].
      NonFiniteUpdate: a value that has no place in an order.

    Source: Yin et al. 2018, arXiv 1803.01498, definition 1.

    """
    return _mean_of_middle(updates, _most_cut(len(updates)))


def trimmed_mean(updates: Updates, trim: float) -> SumArray:
    """Takes the mean of each coordinate, without its smallest and largest values.

    | here   | paper                          |
    |--------|--------------------------------|
    | `trim` | β                              |
    | cut    | βm, rounded up as said below   |

    Args:
      updates: [num_updates, size], finite.
      trim: share that is cut off at each end, 0 < trim < 0.5.

    Returns:
      float64 [size].

    Guarantees:
      The order of the updates does not matter, and `updates` stays as it was. While no more updates are hostile than
      are cut at each end, each coordinate lies between two honest ones. The cut is rounded up, so that this holds for a
      share of `trim`, but never so far that nothing would be left.

    | num_updates | cut at each end, trim = 0.1 | each coordinate is                      |
    |-------------|-----------------------------|-----------------------------------------|
    | 0           |                             | raises                                  |
    | 1, 2        | 0: nothing would be left    | the mean: protects from nothing         |
    | 3           | 1                           | the middle value                        |
    | 4 to 10     | 1                           | the mean of 2 to 8                      |
    | 11 to 20    | 2                           | the mean of 7 to 16                     |

    Equal values count as often as they are there. NaN or inf anywhere raises.

    Raises:
      ValueError: no updates, not of shape [num_updates, size], or a trim out of its bound.
      NonFiniteUpdate: a value that has no place in an order.

    Source: Yin et al. 2018, arXiv 1803.01498, definition 2.

    """
    _check_trim(trim)
    cut = math.ceil(round(trim * len(updates), 6))  # 0.07 * 100 is a little above 7
    return _mean_of_middle(updates, min(cut, _most_cut(len(updates))))


def _most_cut(num_updates: int) -> int:
    """What can be cut at each end so that one or two are left."""
    return max(0, num_updates - 1) // 2


def _mean_of_middle(updates: Updates, cut: int) -> SumArray:
    """Of each coordinate the mean without the `cut` smallest and the `cut` largest values."""
    if updates.ndim != 2 or len(updates) < 1:
        raise ValueError(f"updates must have shape [num_updates >= 1, size], got {updates.shape}")
    num_updates, size = updates.shape
    middle = np.empty(size, np.float64)
    for start in range(0, size, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        ordered = np.sort(updates[:, part], axis=0)
        if not np.isfinite(ordered[[0, -1]]).all():  # where infinities come to lie, and NaN behind them
            raise NonFiniteUpdate("an update must be finite")
        ordered[cut : num_updates - cut].mean(axis=0, dtype=np.float64, out=middle[part])
    return middle


def _check_trim(trim: float) -> None:
    if not 0 < trim < 0.5:  # also refuses NaN
        raise ValueError(f"trim must be > 0 and < 0.5, got {trim}")
