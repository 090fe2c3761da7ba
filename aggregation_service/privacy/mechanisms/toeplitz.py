"""Lower-triangular Toeplitz matrices as power series: their first columns multiply and divide as polynomials do."""

import numpy as np
import numpy.typing as npt

from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Independent, Toeplitz

FloatArray = npt.NDArray[np.float64]


def coefficients(parameters: Toeplitz, rounds: int) -> FloatArray:
    """The first column of C: float64 [rounds], c_0 = 1, never rising, never negative."""
    column = np.zeros(rounds)
    column[0] = 1
    match parameters:
        case Independent():
            pass
        case BandedToeplitz():
            bands = min(rounds, len(parameters.coefficients))
            column[:bands] = parameters.coefficients[:bands]
        case BufferedToeplitz():
            powers = np.arange(rounds - 1)
            for decay, scale in zip(parameters.decays, parameters.scales, strict=True):
                column[1:] += scale * decay**powers
    return column


def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """The first column of the product of two matrices, given theirs; float64 [rounds] each."""
    size = 2 * left.size  # room, so that nothing wraps around
    return np.fft.irfft(np.fft.rfft(left, size) * np.fft.rfft(right, size), size)[: left.size]


def inverse(column: FloatArray) -> FloatArray:
    """The first column of C⁻¹, float64 [rounds], by Newton's iteration v ← v·(2 - c·v), which doubles what is right."""
    result = 1 / column[:1]
    while result.size < column.size:
        padded = np.zeros(min(2 * result.size, column.size))
        padded[: result.size] = result
        correction = -product(column[: padded.size], padded)
        correction[0] += 2
        result = product(padded, correction)
    return result


def prefix_sums(column: FloatArray) -> FloatArray:
    """The first column of A·C⁻¹, where A adds up: what z_t, z_(t-1), ... weigh in the noise of a model at step t."""
    return np.cumsum(inverse(column))


def worst_contribution(column: FloatArray, min_separation: int, participations: int) -> FloatArray:
    """C times the pattern 0, b, 2b, ...: float64 [rounds]; the worst for coefficients that never rise."""
    total = column.copy()
    for start in range(min_separation, participations * min_separation, min_separation):
        total[start:] += column[: column.size - start]
    return total
