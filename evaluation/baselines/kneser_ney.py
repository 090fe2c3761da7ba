"""Interpolated modified Kneser-Ney smoothing, estimated with sorted arrays.

| here          | Chen and Goodman 1998   |
|---------------|-------------------------|
| counts        | c, or N1+(. w) below the highest order |
| `discounts`   | D1, D2, D3+             |
| `left_over`   | gamma(h)                |

Source: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", TR-10-98, section 3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from evaluation.baselines.ngram import Level, NgramModel, Probabilities, context_keys, flatten
from evaluation.targets import IntArray

MAX_ORDER = 8
_FALLBACK = np.array([0.0, 0.5, 1.0, 1.5])
"""Discounts where a text is too small to have n-grams seen once, twice, three and four times; KenLM's."""


class NoWords(Exception):
    """Nothing to learn from: no message has a word to predict."""


class Estimate(NamedTuple):
    """A model, and how often each of its contexts was seen, which pruning weighs it by.

    Attributes:
      model: the n-grams.
      times_seen: by level, int64 [contexts]: words predicted behind each context.

    """

    model: NgramModel
    times_seen: tuple[IntArray, ...]


@dataclass(frozen=True, eq=False)
class _Counted:
    """The n-grams of one order.

    Attributes:
      contexts: as `Level.contexts`.
      entries: int64 [entries], rising: the place of the context, times the vocabulary, plus the word.
      counts: int64 [entries], how often each was seen.
      sample: int64 [entries], one position at which each was seen.
      entry_at: int64 [positions], the entry seen at each position, -1 where the message is too short for the order.

    """

    contexts: IntArray
    entries: IntArray
    counts: IntArray
    sample: IntArray
    entry_at: IntArray


def estimate(messages: Sequence[Sequence[int]], targets: Iterable[int], vocabulary_size: int, order: int) -> Estimate:
    """Estimates a model of the words in `messages`, given the tokens before them in the same message.

    Args:
      messages: ids, the start first; the start is context only.
      targets: the ids that are predicted; all others are context only, as for the networks.
      vocabulary_size: number of ids.
      order: longest n-gram, in [1, 8].

    Guarantees:
      Behind any context the probabilities of `targets` sum to 1, and each is above 0.

    Raises:
      ValueError: `order` is out of its bound.
      NoWords: no message has a target.

    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order must be in [1, {MAX_ORDER}], got {order}")
    is_target = np.zeros(vocabulary_size, np.bool_)
    is_target[list(targets)] = True
    counted = _count(messages, is_target, order)
    uniform = np.where(is_target, 1 / max(1, is_target.sum()), 0.0)
    levels: list[Level] = []
    lower = uniform
    for place, grams in enumerate(counted):
        counts = grams.counts if place == len(counted) - 1 else _left_neighbours(grams, counted[place + 1])
        shorter = grams.entries if place == 0 else counted[place - 1].entry_at[grams.sample]
        level, lower = _smooth(grams, counts, lower[shorter], vocabulary_size)
        levels.append(level if place else _list_unseen(level, uniform))
    seen = tuple(
        np.bincount(grams.entries // vocabulary_size, weights=grams.counts).astype(np.int64) for grams in counted
    )
    return Estimate(NgramModel(vocabulary_size, tuple(levels)), seen)


def _count(
    messages: Sequence[Sequence[int]], is_target: np.ndarray[tuple[int], np.dtype[np.bool_]], order: int
) -> list[_Counted]:
    """Counts n-grams of every order, with one sort of contexts and one of entries an order."""
    tokens, places = flatten(messages)
    ends = np.flatnonzero(is_target[tokens] & (places > 0))
    if not len(ends):
        raise NoWords("a model needs at least 1 message with a word of the vocabulary, got none")
    contexts, context_at = np.zeros(1, np.int64), np.zeros(len(ends), np.int64)
    counted = []
    for span in range(order):
        reached = np.flatnonzero(places[ends] >= span)
        if not len(reached):
            break  # no message is that long
        if span:
            keys = context_keys(context_at[reached], tokens[ends[reached] - span], len(is_target))
            contexts, inverse = np.unique(keys, return_inverse=True)
            context_at[reached] = inverse
        keys = context_at[reached] * len(is_target) + tokens[ends[reached]]
        entries, sample, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        entry_at = np.full(len(ends), -1)
        entry_at[reached] = inverse
        counted.append(_Counted(contexts, entries, counts, reached[sample], entry_at))
    return counted


def _left_neighbours(grams: _Counted, longer: _Counted) -> IntArray:
    """How many different tokens come before each n-gram; of one that begins a message, how often it came."""
    different = np.bincount(grams.entry_at[longer.sample], minlength=len(grams.entries))
    at_start = grams.entry_at[(grams.entry_at >= 0) & (longer.entry_at < 0)]
    return different + np.bincount(at_start, minlength=len(grams.entries))


def _smooth(
    grams: _Counted, counts: IntArray, lower: Probabilities, vocabulary_size: int
) -> tuple[Level, Probabilities]:
    """Takes a discount off every count and hands what is left over to the shorter n-grams, whose shares are `lower`."""
    owners, words = np.divmod(grams.entries, vocabulary_size)
    discounts = discount(counts)[np.minimum(counts, 3)]
    totals = np.bincount(owners, weights=counts)
    left_over = np.bincount(owners, weights=discounts) / totals
    probabilities = (counts - discounts) / totals[owners] + left_over[owners] * lower
    level = Level(
        contexts=grams.contexts,
        log_backoffs=np.log(left_over).astype(np.float32),
        first=np.searchsorted(owners, np.arange(len(grams.contexts) + 1)),
        words=words,
        log_probabilities=np.log(probabilities).astype(np.float32),
    )
    return level, probabilities


def discount(counts: IntArray) -> Probabilities:
    """The discounts of n-grams counted 0, 1, 2, and 3 times or more: float64 [4], each within [0, count).

    Source: Chen and Goodman 1998, equation 26.
    """
    of_counts = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if not of_counts.all():
        return _FALLBACK
    once, twice = of_counts[:2]
    times = np.arange(1, 4)
    discounts = times - (times + 1) * once / (once + 2 * twice) * of_counts[1:] / of_counts[:3]
    sound = bool((discounts > 0).all() and (discounts < times).all())
    return np.concatenate([[0.0], discounts]) if sound else _FALLBACK


def _list_unseen(level: Level, uniform: Probabilities) -> Level:
    """Gives every target a unigram, seen or not, so that nothing is left to back off to."""
    dense = uniform * np.exp(level.log_backoffs[0].astype(np.float64))
    dense[level.words] = np.exp(level.log_probabilities.astype(np.float64))
    words = np.flatnonzero(dense)
    return replace(
        level,
        log_backoffs=np.zeros(1, np.float32),
        first=np.array([0, len(words)]),
        words=words,
        log_probabilities=np.log(dense[words]).astype(np.float32),
    )
