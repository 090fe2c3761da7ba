"""Prediction accuracy: what a person who types would notice.

Targets are words. Punctuation is context. A word that the vocabulary lacks is a target that nobody can hit. Only words
are suggested, three at a time, best score first; of equal scores the lower id, which is the more frequent word, goes
first.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from evaluation.predictors import Predictor
from evaluation.targets import IntArray, SuggestionIndex, TypedMessage, is_known, is_target
from protocol.arrays import FloatArray

NUM_SUGGESTIONS = 3
_LARGEST_EXPONENT = math.log(sys.float_info.max)


class InvalidScores(Exception):
    """A predictor that does not keep its protocol: NaN, or scores of another shape."""


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy over all targets of a group of users; each target weighs the same.

    Attributes:
      top1: share of targets that were the first suggestion before any letter was typed.
      top3: share of targets that were among three suggestions before any letter was typed.
      keystroke_savings: share of keystrokes that suggestions save. Typing a word of n letters costs n + 1 keystrokes,
        the space included. The person takes the right word as soon as it shows among three suggestions that fit the
        letters typed so far, which costs 1 keystroke, space included: after k letters k + 1 in all. Unknown words
        cost all of theirs.
      perplexity: exponential of the mean negative log-likelihood of known targets, by a softmax over the whole
        vocabulary; None where there is no known target, one had probability zero, or it is beyond what a float holds.
      num_targets: words, known or not.
      num_unknown: words that the vocabulary lacks.

    """

    top1: float
    top3: float
    keystroke_savings: float
    perplexity: float | None
    num_targets: int
    num_unknown: int


class UserCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over one user's targets: what `pool` adds up, and what a bootstrap over users draws from."""

    num_targets: int = 0
    num_unknown: int = 0
    top1_hits: int = 0
    top3_hits: int = 0
    keystrokes: int = 0
    keystrokes_saved: int = 0
    log_likelihood: float = 0.0
    """Of known targets, in nats; -inf if one had probability zero."""

    def __add__(self, other: "UserCounts") -> "UserCounts":
        return UserCounts(**{name: getattr(self, name) + getattr(other, name) for name in UserCounts.__struct_fields__})


def pool(counts: Iterable[UserCounts]) -> Accuracy:
    """The accuracy over all users' targets together.

    Raises:
      ValueError: there is no target.

    """
    total = sum(counts, start=UserCounts())
    if total.num_targets == 0:
        raise ValueError("accuracy needs at least 1 target, got 0")
    return Accuracy(
        top1=total.top1_hits / total.num_targets,
        top3=total.top3_hits / total.num_targets,
        keystroke_savings=total.keystrokes_saved / total.keystrokes,
        perplexity=_perplexity(total.log_likelihood, total.num_targets - total.num_unknown),
        num_targets=total.num_targets,
        num_unknown=total.num_unknown,
    )


def _perplexity(log_likelihood: float, num_known: int) -> float | None:
    if num_known == 0 or -log_likelihood / num_known > _LARGEST_EXPONENT:
        return None
    return math.exp(-log_likelihood / num_known)


def evaluate(
    predictor: Predictor, messages_by_user: Mapping[str, Sequence[TypedMessage]], index: SuggestionIndex
) -> dict[str, UserCounts]:
    """Asks `predictor` for every word of every message.

    Args:
      predictor: see `Predictor`.
      messages_by_user: messages by user, each message predicted by itself.
      index: the words that may be suggested.

    Returns:
      Sums by user; a user without targets has zeros.

    Raises:
      InvalidScores: the predictor gave NaN, or rows of another shape.

    """
    # By length, so that a predictor which pads its batches wastes little.
    owned = sorted(
        ((user, message) for user, messages in messages_by_user.items() for message in messages),
        key=lambda pair: len(pair[1].ids),
    )
    counts = dict.fromkeys(messages_by_user, UserCounts())
    scored = predictor.score([message.ids for _, message in owned])
    for (user, message), scores in zip(owned, scored, strict=True):
        counts[user] += count_message(message, scores, index)
    return counts


def count_message(message: TypedMessage, scores: FloatArray, index: SuggestionIndex) -> UserCounts:
    """Counts one message.

    Args:
      message: its ids and letters.
      scores: float32 [len(message.ids) - 1, vocabulary], see `Predictor.score`.
      index: the words that may be suggested.

    Raises:
      InvalidScores: NaN, +inf, or another shape.

    """
    expected = (len(message.ids) - 1, index.vocabulary_size)
    if scores.shape != expected:
        raise InvalidScores(f"scores must have shape {list(expected)}, got {list(scores.shape)}")
    words, known = is_target(message), is_known(message)
    chars = np.array(message.word_chars[1:], dtype=np.int64)
    targets = np.array(message.ids[1:], dtype=np.int64)[known]
    rows = scores[known]
    better = _count_better(rows, targets, index)
    return UserCounts(
        num_targets=int(words.sum()),
        num_unknown=int(words.sum() - known.sum()),
        top1_hits=int((better[:, 0] < 1).sum()),
        top3_hits=int((better[:, 0] < NUM_SUGGESTIONS).sum()),
        keystrokes=int(chars.sum() + words.sum()),
        keystrokes_saved=_saved(better, chars[known]),
        log_likelihood=_log_likelihood(rows, targets),
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


def _saved(better: IntArray, chars: IntArray) -> int:
    """Letters that need not be typed: those after the first prefix at which the word shows.

    A longer prefix leaves fewer rivals, so a word that shows once keeps showing.
    """
    shows = better < NUM_SUGGESTIONS
    letters_typed = np.where(shows.any(axis=1), shows.argmax(axis=1), chars)
    return int((chars - np.minimum(letters_typed, chars)).sum())


def _log_likelihood(rows: FloatArray, targets: IntArray) -> float:
    """Sum over targets of the log-softmax at the target, in nats."""
    if not len(rows):
        return 0.0
    largest = rows.max(axis=1)  # NaN if any score is
    if not np.isfinite(largest).all():
        raise InvalidScores("scores must hold no NaN and, in each row, a finite largest value")
    log_total = np.log(np.exp(rows - largest[:, None]).sum(axis=1)) + largest
    own: npt.NDArray[np.float32] = rows[np.arange(len(targets)), targets]
    return float((own - log_total).sum(dtype=np.float64))
