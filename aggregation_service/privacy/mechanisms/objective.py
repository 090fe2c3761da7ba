"""What optimisation minimises: the logarithm of a Toeplitz mechanism's error, with its gradient by all coefficients."""

import math
from typing import Literal, NamedTuple

import numpy as np

from aggregation_service.privacy.mechanisms.sensitivity import most_participations
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray, inverse, product, worst_contribution

ErrorKind = Literal["rms", "maximum"]
"""Which of the two errors of `prefix_error` is minimised."""


class Schedule(NamedTuple):
    """What a mechanism is optimised for; one device takes part in rounds 0, b, 2b, ... at worst."""

    rounds: int
    min_separation: int
    participations: int
    kind: ErrorKind


class Slope(NamedTuple):
    """A function's value and its gradient, of the shape of what it is a function of."""

    value: float
    gradient: FloatArray


def make_schedule(rounds: int, min_separation: int, max_participations: int, kind: ErrorKind) -> Schedule:
    """Checks what a mechanism shall be optimised for.

    Raises:
      ValueError: a parameter out of its bound.

    """
    if kind not in {"rms", "maximum"}:
        raise ValueError(f'kind must be "rms" or "maximum", got {kind!r}')
    participations = most_participations(
        rounds=rounds, min_separation=min_separation, max_participations=max_participations
    )
    return Schedule(rounds, min_separation, participations, kind)


def log_error(column: FloatArray, schedule: Schedule) -> Slope:
    """The logarithm of `prefix_error` as a function of C's coefficients.

    Args:
      column: c, float64 [rounds], never rising.
      schedule: what it is for.

    Returns:
      log(sensitivity · error), and its gradient, float64 [rounds].

    """
    norm, error = _log_sensitivity(column, schedule), _log_prefix_error(column, schedule.kind)
    return Slope(norm.value + error.value, norm.gradient + error.gradient)


def _log_sensitivity(column: FloatArray, schedule: Schedule) -> Slope:
    """Log ||v||, v_t = Σ_j c_(t - jb): the gradient by c_m is that by v_m, v_(m + b), ... added up."""
    pattern = schedule.min_separation, schedule.participations
    contribution = worst_contribution(column, *pattern)
    square = float(contribution @ contribution)
    backwards = worst_contribution(contribution[::-1], *pattern)
    return Slope(math.log(square) / 2, backwards[::-1] / square)


def _log_prefix_error(column: FloatArray, kind: ErrorKind) -> Slope:
    """Log of the weighted norm of β = A·C⁻¹: dβ = -C⁻¹·β·dc, and transposed for the gradient, as products of series."""
    inverted = inverse(column)
    beta = np.cumsum(inverted)
    weighted = beta.copy()  # the last prefix sum has the largest error, and every β_j is in it once
    if kind == "rms":
        weighted *= np.arange(column.size, 0, -1) / column.size  # the share of the prefix sums that β_j is in
    square = float(weighted @ beta)
    gradient = -product(weighted[::-1], product(inverted, beta))[::-1]
    return Slope(math.log(square) / 2, gradient / square)
