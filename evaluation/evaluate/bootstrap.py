"""Measures from sums by user, and how far chance moves them: a bootstrap over users.

Whole users are drawn with replacement, for words of one user are alike. Every measure is a ratio of two sums, so a draw
is a product of how often each user was drawn and the users' sums, for all draws at once. Two predictors are compared
on the same draws (paired bootstrap: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13).
"""

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from evaluation.answers import MISSED, NUM_SUGGESTIONS, Answers, DoubleArray

SUMS = ("words", "known", "unknown", "top1", "top3", "reciprocal", "reciprocal3", "keystrokes", "saved", "surprise")
"""Columns of the sums by user; surprise is the negative log-likelihood in nats."""


class Measure(NamedTuple):
    """A ratio of two sums.

    Attributes:
      label: for people.
      numerator: of `SUMS`; so is `denominator`.
      probabilities: whether only those have it who give a whole distribution.
      exponential: whether the ratio's exponential is meant; less is better then.

    """

    label: str
    numerator: str
    denominator: str = "words"
    probabilities: bool = False
    exponential: bool = False


MEASURES = {
    "top1": Measure("first suggestion", "top1"),
    "top3": Measure("three suggestions", "top3"),
    "mrr3": Measure("MRR of three", "reciprocal3"),
    "mrr": Measure("MRR of all", "reciprocal", probabilities=True),
    "keystroke_savings": Measure("keystrokes saved", "saved", "keystrokes"),
    "perplexity": Measure("perplexity", "surprise", "known", probabilities=True, exponential=True),
}
SHARES = ("top1", "top3", "mrr3", "keystroke_savings")
"""Measures that every predictor has."""


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure and its 95 % bootstrap interval over users."""

    value: float
    low: float
    high: float


def sum_by_user(answers: Answers, num_users: int, where: npt.NDArray[np.bool_] | None = None) -> DoubleArray:
    """Adds up answers: float64 [users, sums].

    Args:
      answers: to any targets.
      num_users: that `answers.user` counts through.
      where: bool [answers], which of them count; all if None.

    """
    chosen = np.ones(len(answers), np.bool_) if where is None else where
    missed = answers.rank == MISSED
    reciprocal = np.where(missed, 0.0, 1.0 / (answers.rank + 1.0))
    in_three = answers.rank < NUM_SUGGESTIONS
    columns = {
        "words": np.ones(len(answers)),
        "known": answers.known,
        "unknown": ~answers.known,
        "top1": answers.rank == 0,
        "top3": in_three,
        "reciprocal": reciprocal,
        "reciprocal3": np.where(in_three, reciprocal, 0.0),
        "keystrokes": answers.letters + 1,
        "saved": answers.letters - answers.typed,
        "surprise": np.where(answers.known, -answers.log_likelihood, 0.0),
    }
    users = answers.user[chosen]
    return np.stack([np.bincount(users, columns[name][chosen], num_users) for name in SUMS], axis=1)


def measure_of(sums: DoubleArray, measure: Measure) -> DoubleArray:
    """A measure of sums, float64 [...] for [..., sums]; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = sums[..., SUMS.index(measure.numerator)] / sums[..., SUMS.index(measure.denominator)]
        result: DoubleArray = np.exp(ratio) if measure.exponential else ratio
    return result


class Bootstrap:
    """Draws of users, the same for all that is asked of it."""

    def __init__(self, num_users: int, *, draws: int, seed: int):
        """Draws how often each user is in each sample.

        Args:
          num_users: at least 1.
          draws: samples.
          seed: of the draws; no secret.

        """
        generator = np.random.default_rng(seed)
        drawn = generator.integers(num_users, size=(draws, num_users))
        cells = (drawn + num_users * np.arange(draws)[:, None]).ravel()
        self._times = np.bincount(cells, minlength=draws * num_users).reshape(draws, num_users).astype(np.float64)

    def interval(self, sums: DoubleArray, measure: Measure) -> Interval | None:
        """A measure of all users together; None where it has no finite value.

        Args:
          sums: float64 [users, sums].
          measure: see `MEASURES`.

        """
        return _interval(float(measure_of(sums.sum(axis=0), measure)), self._draw(sums, measure))

    def difference(self, ours: DoubleArray, theirs: DoubleArray, measure: Measure) -> Interval | None:
        """Our measure minus theirs, on the same users; None where one of them has no finite value."""
        value = measure_of(ours.sum(axis=0), measure) - measure_of(theirs.sum(axis=0), measure)
        return _interval(float(value), self._draw(ours, measure) - self._draw(theirs, measure))

    def ratio(self, ours: DoubleArray, theirs: DoubleArray, measure: Measure) -> Interval | None:
        """Our measure over theirs, on the same users; None where one has no finite value or theirs is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = measure_of(ours.sum(axis=0), measure) / measure_of(theirs.sum(axis=0), measure)
            drawn = self._draw(ours, measure) / self._draw(theirs, measure)
        return _interval(float(value), drawn)

    def _draw(self, sums: DoubleArray, measure: Measure) -> DoubleArray:
        with np.errstate(invalid="ignore"):  # 0 times infinity, of a word with probability zero
            return measure_of(self._times @ sums, measure)


def _interval(value: float, drawn: DoubleArray) -> Interval | None:
    """Draws without a finite value, such as those that miss everybody with a target, say nothing."""
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return None
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value, float(low), float(high))
