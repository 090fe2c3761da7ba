"""Empirical lower bounds of epsilon: from how well canaries that took part can be told from those that did not.

Any test for taking part that is right more often than (epsilon, delta) allows proves that epsilon is larger. All
statistics here are in standard deviations of canaries that did not take part, so those are N(0, 1).
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aggregation_service.rounds.accumulator import SumArray

MIN_CANARIES = 50
"""With fewer, normal approximations of the fit's own errors would not hold."""
_REACH = 12.0  # deviations around both means in which thresholds are tried
_THRESHOLDS = 4001
_BISECTIONS = 50
_CANDIDATES = 64

Answers = npt.NDArray[np.bool_]

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


class Fit(NamedTuple):
    """Normal distribution fitted to the statistics of canaries that took part."""

    mean: float
    deviation: float


def gaussian_epsilon(fit: Fit, delta: float) -> float:
    """The least epsilon for which N(0, 1) and the fitted normal are (epsilon, delta)-indistinguishable by thresholds.

    Args:
      fit: deviation > 0.
      delta: in (0, 1).

    Returns:
      A finite number >= 0. For deviation 1 it is that of the Gaussian mechanism of noise multiplier 1 / mean, from
      below; the grid of thresholds leaves it short by some 1e-4.

    Raises:
      ValueError: an argument out of its bound.

    Source: Andrew et al. 2024, arXiv 2302.03098, section 3 and algorithm 2.

    """
    _check_share("delta", delta)
    if not fit.deviation > 0:
        raise ValueError(f"deviation must be > 0, got {fit.deviation}")
    reach = _REACH * max(1.0, fit.deviation)
    at = np.linspace(min(0.0, fit.mean) - reach, max(0.0, fit.mean) + reach, _THRESHOLDS)
    scaled = (at - fit.mean) / fit.deviation
    outside, inside = (_tail(at), _tail(-at)), (_tail(scaled), _tail(-scaled))
    pairs = [pair for one, other in zip(inside, outside, strict=True) for pair in ((one, other), (other, one))]
    return max(0.0, *(_largest_ratio(likely, rare, delta) for likely, rare in pairs))


def fit_normal(inside: SumArray) -> Fit:
    """Fits a normal distribution.

    Raises:
      ValueError: fewer than `MIN_CANARIES` statistics.

    """
    if inside.size < MIN_CANARIES:
        raise ValueError(f"canaries must be at least {MIN_CANARIES}, got {inside.size}")
    return Fit(float(inside.mean()), float(inside.std(ddof=1)))


def fitted_bound(inside: SumArray, delta: float, confidence: float) -> float:
    """Bounds epsilon from below by the fit, less what mean and deviation may be off by.

    Args:
      inside: float64 [canaries], statistics of those that took part, taken as independent: in many dimensions they
        nearly are.
      delta: in (0, 1).
      confidence: that the bound holds, in (0, 1): half of what is left is for the mean, half for the deviation.

    Raises:
      ValueError: an argument out of its bound, or too few canaries.

    """
    _check_share("confidence", confidence)
    fit = fit_normal(inside)
    error = NormalDist().inv_cdf(1 - (1 - confidence) / 4)  # of the mean only one side is asked for: it errs to be safe
    mean = max(0.0, fit.mean - error * fit.deviation / math.sqrt(inside.size))
    spread = error / math.sqrt(2 * inside.size)
    least, most = fit.deviation * max(0.01, 1 - spread), fit.deviation * (1 + spread)
    deviations = {least, min(max(1.0, least), most), most}
    return min(gaussian_epsilon(Fit(mean, deviation), delta) for deviation in deviations)


def counted_bound(inside: SumArray, outside: SumArray, delta: float, confidence: float) -> float:
    """Bounds epsilon from below by counting: no distribution is assumed, only that canaries are independent.

    The first half of the statistics chooses a threshold, the second half is counted at it.

    Args:
      inside: float64 [canaries], of those that took part.
      outside: float64 [others], of those that did not.
      delta: in (0, 1).
      confidence: in (0, 1).

    Raises:
      ValueError: an argument out of its bound, or too few canaries.

    Source: Jagielski, Ullman, Oprea 2020, arXiv 2006.07709, section 4; Clopper and Pearson 1934.

    """
    _check_share("delta", delta)
    _check_share("confidence", confidence)
    for values in (inside, outside):
        if values.size < 2 * MIN_CANARIES:
            raise ValueError(f"canaries must be at least {2 * MIN_CANARIES}, got {values.size}")
    (chosen_in, counted_in), (chosen_out, counted_out) = (np.array_split(each, 2) for each in (inside, outside))
    threshold, direction = _best_test(chosen_in, chosen_out, delta, confidence)
    likely, rare = _answers(counted_in, counted_out, threshold)[direction]
    error = (1 - confidence) / 2
    most = 1 - clopper_pearson(int((~rare).sum()), rare.size, error)
    return _epsilon_of(clopper_pearson(int(likely.sum()), likely.size, error), most, delta)


def clopper_pearson(hits: int, trials: int, error: float) -> float:
    """The lower end of a one-sided interval for a share: below it, that many hits or more have chance < `error`.

    Args:
      hits: 0 to `trials`.
      trials: >= 1.
      error: in (0, 1), the chance that the share is below what is returned.

    >>> round(clopper_pearson(10, 10, 0.05), 4)  # 0.05 ** (1 / 10)
    0.7411

    Raises:
      ValueError: an argument out of its bound.

    """
    _check_share("error", error)
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"hits must be 0 to trials, {trials}, got {hits}")
    low, high = 0.0, hits / trials
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance_of_at_least(hits, trials, middle) < error else (low, middle)
    return low


def _answers(inside: SumArray, outside: SumArray, threshold: float) -> tuple[tuple[Answers, Answers], ...]:
    """What two tests say: that a canary took part, above the threshold; and that it did not, below.

    For each test, what it says of those for whom it is true, and of the others.
    """
    return (inside > threshold, outside > threshold), (outside <= threshold, inside <= threshold)


def _best_test(inside: SumArray, outside: SumArray, delta: float, confidence: float) -> tuple[float, int]:
    """The threshold and the number of the test that would prove most."""
    levels = 1 / (1 + np.exp(-np.linspace(-_REACH, _REACH, _CANDIDATES)))  # dense at both ends, where it is decided
    found = [
        (_epsilon_of(_wilson(likely, -1, confidence), _wilson(rare, 1, confidence), delta), float(threshold), number)
        for threshold in np.quantile(np.concatenate([inside, outside]), levels)
        for number, (likely, rare) in enumerate(_answers(inside, outside, threshold))
    ]
    _, threshold, number = max(found)
    return threshold, number


def _wilson(answers: Answers, side: int, confidence: float) -> float:
    """An end of the interval for a share: less exact than Clopper and Pearson's and quick, so good enough to choose.

    Source: Wilson 1927, "Probable inference".
    """
    error, count, share = NormalDist().inv_cdf((1 + confidence) / 2), answers.size, float(answers.mean())
    square = error * error / count
    root = error * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return (share + square / 2 + side * root) / (1 + square)


def _epsilon_of(least_true: float, most_false: float, delta: float) -> float:
    """Of a test that says yes at least so often where it is true, and at most so often where it is not."""
    return math.log((least_true - delta) / most_false) if least_true - delta > most_false else 0.0


def _chance_of_at_least(hits: int, trials: int, share: float) -> float:
    if share == 0:
        return float(hits == 0)
    count = np.arange(hits, trials + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    chosen = factorials[trials] - factorials[count] - factorials[trials - count]
    with np.errstate(divide="ignore", invalid="ignore"):
        misses = np.where(count == trials, 0.0, (trials - count) * np.log1p(-share))
    return float(np.exp(chosen + count * math.log(share) + misses).sum())


def _tail(at: SumArray) -> SumArray:
    """P(N(0, 1) > at)."""
    values: SumArray = _erfc(at / math.sqrt(2)) / 2
    return values


def _largest_ratio(likely: SumArray, rare: SumArray, delta: float) -> float:
    """Of log((likely - delta) / rare), where both can be told from 0."""
    usable = (likely > delta) & (rare > 0)
    return float((np.log(likely[usable] - delta) - np.log(rare[usable])).max()) if usable.any() else 0.0


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}")
