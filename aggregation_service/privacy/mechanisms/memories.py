"""What each mechanism keeps of its noise from step to step, and how it makes the next.

Steps count from 0. A memory's `vectors` are all it knows: they are what a stream saves. If anything raises, they are as
they were before.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.trees import mix

IntArray = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]
"""[num_vectors, size] of int64, or of float64 where noise fades."""

Draw = Callable[[], IntArray]
"""Makes a fresh sample of the discrete Gaussian in each of the coordinates: int64 [size]."""

LARGEST = 1 << 38
"""No number of a stream goes beyond: float64 holds it with 15 bits to spare, and weighing it cannot overflow int64.

It is 256 deviations of noise of 2^30 steps; what memories hold has a few times the deviation of the noise.
"""


class NoiseOutOfRange(Exception):
    """Noise beyond `LARGEST`, for which rounding errors are not bounded: the unit of its grid is wrong."""


class Memory(Protocol):
    """What a stream needs of a mechanism."""

    vectors: Vectors

    def next_noise(self, step: int, draw: Draw) -> IntArray:
        """The noise of a step, int64 [size]; calls `draw` once, a tree once for every node that the step completes."""


class NoMemory:
    """Independent noise."""

    def __init__(self, size: int) -> None:
        self.vectors: Vectors = np.zeros((0, size), np.int64)

    def next_noise(self, step: int, draw: Draw) -> IntArray:
        """n_t = z_t."""
        return draw()


class RecentNoise:
    """The last noise vectors, one a band of C below its diagonal; that of step t is in row t mod their number."""

    def __init__(self, parameters: BandedToeplitz, size: int) -> None:
        self._coefficients = parameters.coefficients[1:]
        self.vectors: Vectors = np.zeros((len(self._coefficients), size), np.int64)

    def next_noise(self, step: int, draw: Draw) -> IntArray:
        """n_t = z_t - round(Σ_j c_j n_(t-j))."""
        rows = len(self._coefficients)
        recalled = np.zeros(self.vectors.shape[1])
        for lag, coefficient in enumerate(self._coefficients, start=1):
            recalled += coefficient * self.vectors[(step - lag) % rows]
        noise = checked(draw() - np.rint(recalled).astype(np.int64))
        if rows:
            self.vectors[step % rows] = noise
        return noise


class FadingSums:
    """A sum of all noise so far for each decay θ_i, in which noise of the past fades: s_i = Σ_j θ_i^(j-1) n_(t-j)."""

    def __init__(self, parameters: BufferedToeplitz, size: int) -> None:
        self._decays = np.array(parameters.decays)
        self._scales = np.array(parameters.scales)
        self.vectors: Vectors = np.zeros((len(parameters.decays), size))

    def next_noise(self, step: int, draw: Draw) -> IntArray:
        """n_t = z_t - round(Σ_i ω_i s_i)."""
        noise = checked(draw() - np.rint(self._scales @ self.vectors).astype(np.int64))
        self.vectors = checked(self._decays[:, None] * self.vectors + noise)
        return noise


class OpenNodes:
    """The estimates of the tree's nodes that still wait for their sibling, one a level."""

    def __init__(self, parameters: Tree, size: int) -> None:
        self.vectors: Vectors = np.zeros((parameters.height, size), np.int64)

    def next_noise(self, step: int, draw: Draw) -> IntArray:
        """n_t = N_t - N_(t-1): the estimates that the step makes, less those they take the place of."""
        leaves = step + 1
        completed = (leaves & -leaves).bit_length() - 1  # as many levels above the leaf, if the tree has them
        estimate, replaced = draw(), np.zeros(self.vectors.shape[1], np.int64)
        for level, left in enumerate(self.vectors[:completed]):
            replaced += left
            estimate = checked(mix(level + 1, draw(), left + estimate))
        if completed < len(self.vectors):  # a root waits for nobody
            self.vectors[completed] = estimate
        return estimate - replaced


def empty_memory(parameters: Mechanism, size: int) -> Memory:
    """The memory of a mechanism before its first step, for vectors of `size` coordinates."""
    match parameters:
        case Independent():
            return NoMemory(size)
        case BandedToeplitz():
            return RecentNoise(parameters, size)
        case BufferedToeplitz():
            return FadingSums(parameters, size)
        case Tree():
            return OpenNodes(parameters, size)


def checked(values: Vectors) -> Vectors:
    """Returns its argument.

    Raises:
      NoiseOutOfRange: a number beyond ±`LARGEST`, or NaN.

    """
    if values.size and not (values.min() >= -LARGEST and values.max() <= LARGEST):
        raise NoiseOutOfRange(f"noise must be within ±{LARGEST}, got a number beyond")  # which one is a secret
    return values
