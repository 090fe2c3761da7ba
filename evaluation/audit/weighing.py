"""The attack that weighs: how often each word was typed, from its bias's change and from how frequent words are.

Training moves a word's output bias by s (c - n f): the word was typed c times of n, the model expected a share f, which
is near its public frequency, and one occurrence moves a bias by s. So the fall of the words that were not typed tells
n s, and every bias then tells its own c, also that of a common word which fell although it was typed. Before anything
is seen a device's c is taken as geometric of mean n f; Bayes' rule does the rest. Where noise hides everything, the
guess that knows frequencies alone is left.

| here       | Suliman and Leith 2022, arXiv 2210.16947, section 4                                |
|------------|------------------------------------------------------------------------------------|
| `unit`     | the learning rate over the batch size, here with the scaling of clipping in it     |
| `bias`     | the difference of the two models' biases: words counted, less words expected there |
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from evaluation.audit.words import Vector

EXPECTED_WITHIN = 0.2
"""Deviation of what a model expects of a word from what its frequency says, relative: a fifth."""
_MOST_COUNTED = 1 << 12
_PIECE = 1_000  # words at a time: each has a row of all counts in memory
_UNITS = np.geomspace(1 / 3, 3, 13)  # tried, relative to the usual one
_LEAST_UNIT = 1e-12


class Habits(NamedTuple):
    """What devices do on average, as an adversary knows it from devices of its own.

    Attributes:
      words: n, that a device trained on.
      unit: s, by how much one occurrence moves a bias.

    """

    words: float
    unit: float


class Belief(NamedTuple):
    """What an adversary holds of each word, float64 [words], and how well it explains what was seen.

    Attributes:
      typed: the chance that a device typed it.
      times: how often, expected.
      evidence: logarithm of the chance of what was seen, up to a constant.

    """

    typed: Vector
    times: Vector
    evidence: float


def learn_habits(biases: Sequence[Vector], counts: Sequence[Vector], shares: Vector) -> Habits:
    """Averages over devices whose words are known.

    Args:
      biases: float64 [words], of each device's clipped update.
      counts: float64 [words], how often each typed every word.
      shares: float64 [words], how frequent words are; they add up to 1.

    """
    fits = [
        np.linalg.lstsq(np.stack([typed, shares], axis=1), bias, rcond=None)[0][0]
        for bias, typed in zip(biases, counts, strict=True)
    ]
    largest = max(float(np.abs(bias).max()) for bias in biases)
    unit = max(float(np.mean(fits)), 1e-3 * largest, _LEAST_UNIT)
    return Habits(words=float(np.mean([typed.sum() for typed in counts])), unit=unit)


def weigh(bias: Vector, error: float, shares: Vector, habits: Habits, members: int = 1) -> Belief:
    """Weighs what was seen against what is usual.

    Args:
      bias: float64 [words], of an update or of the sum of a group's.
      error: standard deviation of what rounding and noise added to each.
      shares: float64 [words], how frequent words are, > 0; they add up to 1.
      habits: of devices. A single update that noise does not hide has its own, which are found in it.
      members: devices of the group.

    """
    if members == 1 and error < habits.unit / 2:
        habits = _own_habits(bias, error, shares, habits)
    return _believe(bias, error, shares, habits, members)


def _own_habits(bias: Vector, error: float, shares: Vector, usual: Habits) -> Habits:
    """Those that explain one update best: what was not typed tells n s, and whole numbers of times tell s."""
    fell = bias < 0
    if not fell.any():
        return usual
    together = float(np.median(-bias[fell] / shares[fell]))
    tried = [Habits(together / unit, float(unit)) for unit in _UNITS * usual.unit]
    return max(tried, key=lambda habits: _believe(bias, error, shares, habits, 1).evidence)


def _believe(bias: Vector, error: float, shares: Vector, habits: Habits, members: int) -> Belief:
    pieces = list(_pieces(bias, error, shares, habits, members))
    typed, times = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("typed", "times"))
    return Belief(typed, times, sum(piece.evidence for piece in pieces))


def _pieces(bias: Vector, error: float, shares: Vector, habits: Habits, members: int) -> Iterator[Belief]:
    """Belief in some words at a time."""
    expected = members * habits.words * shares  # [words]
    most = 1.5 * max(2 * float(expected.max()), float(bias.max()) / habits.unit + float(expected.max()))
    counts = np.arange(int(min(max(most, 10), _MOST_COUNTED)) + 1, dtype=np.float64)
    of_one = 1 - (1 - 1 / members) ** counts  # whether a given device is among those who typed it
    for start in range(0, bias.size, _PIECE):
        piece = slice(start, start + _PIECE)
        mean = expected[piece, np.newaxis]  # [piece, 1], and below [piece, counts]
        joint = _log_likelihood(bias[piece, np.newaxis], error, mean, habits.unit, counts)
        joint += _log_prior(mean, counts, members)
        highest = joint.max(axis=1, keepdims=True)
        chances = np.exp(joint - highest)
        total = chances.sum(axis=1)
        evidence = float((np.log(total) + highest[:, 0]).sum())
        yield Belief(np.minimum(chances @ of_one / total, 1), chances @ counts / total / members, evidence)


def _log_prior(expected: Vector, counts: Vector, members: int) -> Vector:
    """Of each count: geometric for one device, so negative binomial for a group."""
    ways = np.concatenate([[0.0], np.cumsum(np.log((counts[1:] + members - 1) / counts[1:]))])
    prior: Vector = ways + counts * np.log(expected / (members + expected)) - members * np.log1p(expected / members)
    return prior


def _log_likelihood(bias: Vector, error: float, expected: Vector, unit: float, counts: Vector) -> Vector:
    """Of a bias that changed so much, if its word was typed so often."""
    deviation = np.hypot(error, EXPECTED_WITHIN * unit * (counts + expected))
    likelihood: Vector = -0.5 * ((bias - unit * (counts - expected)) / deviation) ** 2 - np.log(deviation)
    return likelihood
