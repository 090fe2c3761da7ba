"""Membership inference: random canary devices in one run, and how well those that took part can be told.

Canaries are random directions as long as the clipping norm. They train nothing and are nearly orthogonal to each other,
to all updates and to the noise, so hundreds in one run hardly disturb each other, and each of them is a trial.

Two adversaries look for them. One sees the first and the last model only. The other sees every released sum, knows
mechanism and participation pattern, and weighs the sums so that no other weights show the canaries better. Accounting
protects from the latter; what the former finds shows how much of that is not needed for a model of which nobody saw
the checkpoints.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec
import numpy as np

from aggregation_service.rounds.accumulator import SumArray
from evaluation.audit.lower_bounds import counted_bound, fit_normal, fitted_bound, gaussian_epsilon
from evaluation.audit.noises import Noise, Promise, best_weights
from evaluation.audit.rounds import Cohorts, run_rounds
from evaluation.audit.settings import MembershipSettings
from evaluation.numbers import percent
from evaluation.rehearsal.attacks import with_norm
from evaluation.rehearsal.people import draw_seed
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.rehearsal.ways import Sent
from protocol.arrays import FloatArray

FINAL, ALL = "first and last model", "every sum"
"""What an adversary sees."""
BIN_WIDTH, LARGEST_BIN = 0.25, 48


class Histogram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of statistics in bins of `BIN_WIDTH` deviations; the outermost hold all that is beyond."""

    first: int
    counts: tuple[int, ...]


class Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one adversary found; statistics are in deviations of canaries that took no part.

    Attributes:
      sees: `FINAL` or `ALL`.
      mean: of the canaries that took part.
      deviation: of the same.
      estimate: epsilon of the fitted normal distribution: the best guess, too high as often as too low.
      fitted: lower bound of epsilon, from the fit.
      counted: lower bound of epsilon, from counts alone.
      inside: statistics of canaries that took part.
      outside: of those that did not.

    """

    sees: str
    mean: float
    deviation: float
    estimate: float
    fitted: float
    counted: float
    inside: Histogram
    outside: Histogram

    @property
    def bound(self) -> float:
        """The larger of the two bounds."""
        return max(self.fitted, self.counted)


class MembershipArm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mechanism under audit.

    Attributes:
      name: of the mechanism.
      noise_multiplier: z, as promised.
      noise_share: of it that was really added; 1 unless the audit was to fail.
      rounds: of the run.
      participations: of each canary, as early and as often as the promise allows.
      canaries: that took part, and as many that did not.
      delta: of all epsilons.
      confidence: that a bound holds.
      proven: epsilon by the ledger.
      found: by adversary.

    """

    name: str
    noise_multiplier: float
    noise_share: float
    rounds: int
    participations: int
    canaries: int
    delta: float
    confidence: float
    proven: float
    found: tuple[Found, ...]

    @property
    def contradictions(self) -> list[str]:
        """A sentence for each adversary who found more than was proven."""
        return [
            f"{self.name} noise leaks more than was proven: who sees {each.sees} finds epsilon >= {each.bound:.2f} "
            f"with {percent(self.confidence)} confidence, proven are {self.proven:.2f} at delta = {self.delta:g}"
            for each in self.found
            if each.bound > self.proven
        ]


class Canaries:
    """Random directions, made from the seed each time that they are asked for: all at once would not fit in memory."""

    def __init__(self, kind: str, count: int, size: int, seed: int):
        """Takes what sets these apart from others of the same seed."""
        self._kind, self._count, self._size, self._seed = kind, count, size, seed

    def __iter__(self) -> Iterator[FloatArray]:
        """Gives float32 [size] of norm 1, always the same ones in the same order."""
        for number in range(self._count):
            generator = np.random.default_rng(draw_seed(self._seed, "canary", self._kind, number))
            yield with_norm(generator.standard_normal(self._size, np.float32), 1.0)

    def statistics(self, observed: SumArray) -> SumArray:
        """How far each points towards what was observed, float64 [count].

        For directions that `observed` has nothing of, sqrt(size) times the cosine is N(0, 1), nearly.

        Raises:
          ValueError: `observed` is zero.

        """
        norm = float(np.linalg.norm(observed))
        if norm == 0:
            raise ValueError("observed must not be zero: a cosine with it has no meaning")
        direction = observed / norm
        return math.sqrt(self._size) * np.array([float(direction @ canary) for canary in self])


class _WithCanaries:
    """Cohorts that canaries join in the rounds of a pattern."""

    def __init__(self, honest: Cohorts, canaries: Iterable[FloatArray], pattern: SumArray, l2_clip_norm: float):
        self._honest, self._canaries, self._pattern, self._norm = honest, canaries, pattern, l2_clip_norm

    def reports(self, weights: FloatArray, number: int) -> Iterable[Sent]:
        honest = self._honest.reports(weights, number)
        if not self._pattern[number]:
            return honest
        return chain(honest, (Sent(canary * np.float32(self._norm), forged=True) for canary in self._canaries))


def attack_membership(
    name: str,
    promise: Promise,
    noise: Noise,
    honest: Cohorts,
    *,
    settings: RehearsalSettings,
    weights: FloatArray,
    chosen: MembershipSettings,
    on_round: Callable[[], None] = lambda: None,
) -> MembershipArm:
    """Runs a task with canaries in it and looks for them.

    Args:
      name: of the mechanism, for the report.
      promise: what is audited.
      noise: what is really added: whether it keeps the promise is the question.
      honest: the other devices.
      settings: of the rounds, as many as promised.
      weights: float32 [num_weights], before the first round.
      chosen: how many canaries, a small share of the number of weights or they hide each other; delta, confidence.
      on_round: called after each round, for a progress bar.

    Raises:
      ValueError: an argument out of its bound.

    """
    if promise.rounds != settings.rounds:
        raise ValueError(f"rounds must be the {promise.rounds} of the promise, got {settings.rounds}")
    size, reports = weights.size, settings.cohort + chosen.canaries
    inside, outside = (Canaries(kind, chosen.canaries, size, settings.seed) for kind in ("inside", "outside"))
    cohorts = _WithCanaries(honest, inside, promise.pattern, promise.l2_clip_norm)
    shares = best_weights(promise.mechanism, promise.pattern)
    matched, last = np.zeros(size), weights
    for share, closed in zip(shares, run_rounds(settings, weights, cohorts, noise, reports), strict=True):
        matched += share * closed.released
        last = closed.weights
        on_round()
    views = {FINAL: last.astype(np.float64) - weights, ALL: matched}
    return MembershipArm(
        name=name,
        noise_multiplier=promise.noise_multiplier,
        noise_share=chosen.noise_share,
        rounds=promise.rounds,
        participations=int(promise.pattern.sum()),
        canaries=chosen.canaries,
        delta=chosen.delta,
        confidence=chosen.confidence,
        proven=promise.proven(size, reports, chosen.delta).epsilon,
        found=tuple(
            judge(sees, inside.statistics(view), outside.statistics(view), chosen.delta, chosen.confidence)
            for sees, view in views.items()
        ),
    )


def judge(sees: str, inside: SumArray, outside: SumArray, delta: float, confidence: float) -> Found:
    """What can be said of epsilon from the statistics of canaries that took part and of others, float64 each."""
    fit = fit_normal(inside)
    return Found(
        sees=sees,
        mean=fit.mean,
        deviation=fit.deviation,
        estimate=gaussian_epsilon(fit, delta),
        fitted=fitted_bound(inside, delta, confidence),
        counted=counted_bound(inside, outside, delta, confidence),
        inside=_count(inside),
        outside=_count(outside),
    )


def _count(statistics: SumArray) -> Histogram:
    bins = np.clip(np.floor(statistics / BIN_WIDTH), -LARGEST_BIN, LARGEST_BIN).astype(int)
    first = int(bins.min())
    return Histogram(first=first, counts=tuple(np.bincount(bins - first).tolist()))
