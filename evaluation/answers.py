"""What a predictor answered, word by word: the place of the right word, and the letters that it took to show it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from evaluation.targets import IntArray, SuggestionIndex, TypedMessage, is_known, is_target
from protocol.arrays import FloatArray

NUM_SUGGESTIONS = 3
MISSED = 2**31 - 1
"""The rank of a word that was not among those that are ranked or shown."""

DoubleArray = npt.NDArray[np.float64]


class InvalidScores(Exception):
    """A predictor that does not keep its protocol: NaN, or scores of another shape."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """Answers to some targets; all arrays are of one length, an entry for each target.

    Attributes:
      user: int64, whose word it was, as a position in a list of people.
      message_words: int64, words of its message.
      letters: int64, letters of the word.
      known: bool, whether the vocabulary has it.
      rank: int64, suggestions that went before it when no letter was typed; `MISSED` if it was not among them.
      typed: int64, letters typed until it was among three suggestions; all of them if it never was.
      log_likelihood: float64, in nats, by a softmax over the whole vocabulary; NaN for unknown words, and for those who
        give no probabilities.
      confidence: float64, probability of the first suggestion before a letter was typed, by the same softmax; NaN for
        those who give no probabilities.

    """

    user: IntArray
    message_words: IntArray
    letters: IntArray
    known: npt.NDArray[np.bool_]
    rank: IntArray
    typed: IntArray
    log_likelihood: DoubleArray
    confidence: DoubleArray

    def __len__(self) -> int:
        return len(self.rank)

    @classmethod
    def join(cls, parts: Iterable["Answers"]) -> Self:
        """Answers to all parts' targets, in order."""
        listed = list(parts) or [_nothing()]
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in listed]) for each in fields(cls)})


def _nothing() -> Answers:
    counts, reals = np.zeros(0, np.int64), np.zeros(0, np.float64)
    return Answers(
        user=counts,
        message_words=counts,
        letters=counts,
        known=np.zeros(0, np.bool_),
        rank=counts,
        typed=counts,
        log_likelihood=reals,
        confidence=reals,
    )


def read_scores(message: TypedMessage, scores: FloatArray, index: SuggestionIndex, *, user: int = 0) -> Answers:
    """Reads the answers to one message off a predictor's scores.

    Args:
      message: its ids and letters.
      scores: float32 [len(message.ids) - 1, vocabulary], see `Predictor.score`.
      index: the words that may be suggested.
      user: whose message it is.

    Raises:
      InvalidScores: NaN, +inf, or another shape.

    """
    expected = (len(message.ids) - 1, index.vocabulary_size)
    if scores.shape != expected:
        raise InvalidScores(f"scores must have shape {list(expected)}, got {list(scores.shape)}")
    words = is_target(message)
    known = is_known(message)[words]
    letters = np.array(message.word_chars[1:], dtype=np.int64)[words]
    targets = np.array(message.ids[1:], dtype=np.int64)[words][known]
    rows = scores[words]
    log_total = _log_total(rows)
    better = _count_better(rows[known], targets, index)
    rank, typed = np.full(len(rows), MISSED, np.int64), letters.copy()
    rank[known], typed[known] = better[:, 0], _letters_until_shown(better, letters[known])
    log_likelihood = np.full(len(rows), np.nan)
    log_likelihood[known] = rows[known, targets] - log_total[known]
    return Answers(
        user=np.full(len(rows), user, np.int64),
        message_words=np.full(len(rows), len(rows), np.int64),
        letters=letters,
        known=known,
        rank=rank,
        typed=typed,
        log_likelihood=log_likelihood,
        confidence=np.exp((rows[:, index.ids].max(axis=1) - log_total).astype(np.float64)),
    )


def _count_better(rows: FloatArray, targets: IntArray, index: SuggestionIndex) -> IntArray:
    """How many suggestions go before the target, for each number of letters typed: int64 [targets, prefixes].

    Words that share a prefix lie side by side in alphabetical order, so one running sum a row answers for every
    prefix at once, and nothing is ever sorted.
    """
    ordered = rows[:, index.ids]  # [targets, suggestions]
    own = np.take_along_axis(rows, targets[:, None], axis=1)
    goes_before = (ordered > own) | ((ordered == own) & (index.ids < targets[:, None]))
    running = np.zeros((len(targets), len(index.ids) + 1), dtype=np.int32)
    np.cumsum(goes_before, axis=1, out=running[:, 1:])
    first, last = np.moveaxis(index.spans[targets], 2, 0)  # [targets, prefixes] each
    return np.take_along_axis(running, last, axis=1) - np.take_along_axis(running, first, axis=1)


def _letters_until_shown(better: IntArray, letters: IntArray) -> IntArray:
    """The first prefix at which each word shows.

    A longer prefix leaves fewer rivals, so a word that shows once keeps showing.
    """
    shows = better < NUM_SUGGESTIONS
    typed = np.where(shows.any(axis=1), shows.argmax(axis=1), letters)
    return np.minimum(typed, letters)


def _log_total(rows: FloatArray) -> FloatArray:
    """The softmax's normaliser of each row, as a logarithm: float32 [rows]."""
    largest = rows.max(axis=1)  # NaN if any score is
    if not np.isfinite(largest).all():
        raise InvalidScores("scores must hold no NaN and, in each row, a finite largest value")
    total: FloatArray = np.log(np.exp(rows - largest[:, None]).sum(axis=1)) + largest
    return total
