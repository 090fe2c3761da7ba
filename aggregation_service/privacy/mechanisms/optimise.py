"""Parameters of least error for given rounds, separation and participations.

The search moves logits, so that whatever it tries is a valid mechanism, along the exact gradient: that by the
coefficients of C is `objective`'s, and each kind of mechanism pulls it back to its own unknowns by the chain rule.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aggregation_service.privacy.mechanisms.objective import ErrorKind, Schedule, Slope, log_error, make_schedule
from aggregation_service.privacy.mechanisms.parameters import (
    MOST_BANDS,
    MOST_BUFFERS,
    BandedToeplitz,
    BufferedToeplitz,
    Tree,
)
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray

_BELOW_ONE = 1 - 2.0**-20  # the largest decay, ratio and sum of scales: what must be < 1 stays so in float64 too


class Trial(NamedTuple):
    """A column of C, float64 [rounds], and what turns the gradient by it into that by the unknowns."""

    column: FloatArray
    pull_back: Callable[[FloatArray], FloatArray]


def optimised_banded(
    bands: int, *, rounds: int, min_separation: int, max_participations: int, kind: ErrorKind = "rms"
) -> BandedToeplitz:
    """Finds the coefficients of least error among those that never rise.

    The more bands the better, but bands beyond the separation gain next to nothing. A stream keeps `bands` - 1 vectors.

    Args:
      bands: 1 to `rounds`, and at most 1,024.
      rounds: n >= 1.
      min_separation: b >= 1.
      max_participations: k >= 1.
      kind: which error.

    Raises:
      ValueError: a parameter out of its bound.

    Source: Choquette-Choo et al. 2023, arXiv 2306.08153, section 4. The search begins at the band of the square root of
    A, which Kalinin and Lampert 2024, arXiv 2405.13763, show to be nearly the best.

    """
    schedule = make_schedule(rounds, min_separation, max_participations, kind)
    if not 1 <= bands <= min(rounds, MOST_BANDS):
        raise ValueError(f"bands must be between 1 and {min(rounds, MOST_BANDS)}, got {bands}")
    ratios = 1 - 0.5 / np.arange(1, bands)
    best = _search(lambda logits: _banded(logits, rounds), _logits(ratios), schedule)
    return BandedToeplitz(tuple(_banded(best, rounds).column[:bands].tolist()))


def optimised_buffered(
    buffers: int, *, rounds: int, min_separation: int, max_participations: int, kind: ErrorKind = "rms"
) -> BufferedToeplitz:
    """Finds the decays and scales of least error. A stream keeps `buffers` vectors, and two to four are enough.

    Args:
      buffers: 1 to 16.
      rounds: n >= 1.
      min_separation: b >= 1.
      max_participations: k >= 1.
      kind: which error.

    Raises:
      ValueError: a parameter out of its bound.

    Source: McMahan, Xu, Zhang 2024, arXiv 2408.08868, section 4. The search begins with decays that forget within a few
    rounds to within all of them, and with c_1 = 1/2, that of the square root of A.

    """
    schedule = make_schedule(rounds, min_separation, max_participations, kind)
    if not 1 <= buffers <= MOST_BUFFERS:
        raise ValueError(f"buffers must be between 1 and {MOST_BUFFERS}, got {buffers}")
    losses = np.geomspace(min(0.5, 2 / rounds), 0.8, buffers)  # 1 - decay
    shares = np.sqrt(losses) / np.sqrt(losses).sum()
    start = np.concatenate([_logits(1 - losses), np.log(shares)])
    decays, scales = _decays_and_scales(_search(lambda unknowns: _buffered(unknowns, rounds), start, schedule))
    return BufferedToeplitz(tuple(decays.tolist()), tuple(scales.tolist()))


def optimised_tree(*, rounds: int, min_separation: int, max_participations: int, kind: ErrorKind = "rms") -> Tree:
    """Finds the restart of least error: a tree of one round is independent noise, the largest holds all rounds.

    Raises:
      ValueError: a parameter out of its bound.

    """
    schedule = make_schedule(rounds, min_separation, max_participations, kind)

    def error(tree: Tree) -> float:
        rms, maximum = prefix_error(
            tree, rounds=rounds, min_separation=min_separation, max_participations=max_participations
        )
        return rms if schedule.kind == "rms" else maximum

    return min((Tree(1 << height) for height in range(rounds.bit_length())), key=error)


def _search(model: Callable[[FloatArray], Trial], start: FloatArray, schedule: Schedule) -> FloatArray:
    """The unknowns, float64 as `start`, at which the error of `model` is least as far as the search finds."""
    import scipy.optimize  # type: ignore[import-untyped]  # not earlier: only planning needs it, and it is large

    def slope(unknowns: FloatArray) -> Slope:
        column, pull_back = model(unknowns)
        value, gradient = log_error(column, schedule)
        return Slope(value, pull_back(gradient))

    if start.size == 0:
        return start
    found = scipy.optimize.minimize(slope, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    best: FloatArray = found.x
    return best


def _banded(logits: FloatArray, rounds: int) -> Trial:
    """C of bands whose ratios, each to the one before, are what is searched."""
    ratios = _fractions(logits)
    column = np.zeros(rounds)
    column[: logits.size + 1] = np.cumprod(np.concatenate([[1.0], ratios]))

    def pull_back(gradient: FloatArray) -> FloatArray:
        # A ratio moves its own and all later coefficients in proportion to them.
        moved = (gradient * column)[1 : logits.size + 1]
        by_logit: FloatArray = (1 - ratios / _BELOW_ONE) * np.cumsum(moved[::-1])[::-1]
        return by_logit

    return Trial(column, pull_back)


def _buffered(unknowns: FloatArray, rounds: int) -> Trial:
    """C of decays and scales: c_j = Σ_i scales_i · decays_i^(j-1)."""
    decays, scales = _decays_and_scales(unknowns)
    exponents = np.arange(rounds - 1)
    powers = decays[:, None] ** exponents  # [buffers, rounds - 1]

    def pull_back(gradient: FloatArray) -> FloatArray:
        by_scale = powers @ gradient[1:]
        along_scales = scales * (by_scale - scales @ by_scale / _BELOW_ONE)
        along_decays = scales * ((powers * exponents) @ gradient[1:]) * (1 - decays / _BELOW_ONE)
        return np.concatenate([along_decays, along_scales])

    return Trial(np.concatenate([[1.0], scales @ powers]), pull_back)


def _decays_and_scales(unknowns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Decays of their logits; scales as a softmax with one more share, of logit 0, which keeps their sum below 1."""
    decay_logits, scale_logits = np.split(unknowns, 2)
    largest = max(0.0, float(scale_logits.max()))  # taken off, so that nothing overflows
    shares = np.exp(scale_logits - largest)
    return _fractions(decay_logits), _BELOW_ONE * shares / (shares.sum() + math.exp(-largest))


def _fractions(logits: FloatArray) -> FloatArray:
    """Numbers in (0, 1) for any; float64 as `logits`."""
    fractions: FloatArray = _BELOW_ONE * (1 + np.tanh(logits / 2)) / 2
    return fractions


def _logits(fractions: FloatArray) -> FloatArray:
    logits: FloatArray = np.log(fractions) - np.log1p(-fractions)
    return logits
