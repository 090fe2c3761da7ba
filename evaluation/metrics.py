"""Prediction accuracy: what a person who types would notice.

Targets are words. Punctuation is context. A word that the vocabulary lacks is a target that nobody can hit. Only words
are suggested, three at a time, best score first; of equal scores the lower id, which is the more frequent word, goes
first.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from evaluation.answers import NUM_SUGGESTIONS, read_scores
from evaluation.predictors import Predictor
from evaluation.targets import SuggestionIndex, TypedMessage
from protocol.arrays import FloatArray

_LARGEST_EXPONENT = math.log(sys.float_info.max)


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
    """Counts one message; see `evaluation.answers.read_scores`.

    Raises:
      InvalidScores: NaN, +inf, or another shape.

    """
    answers = read_scores(message, scores, index)
    return UserCounts(
        num_targets=len(answers),
        num_unknown=int((~answers.known).sum()),
        top1_hits=int((answers.rank < 1).sum()),
        top3_hits=int((answers.rank < NUM_SUGGESTIONS).sum()),
        keystrokes=int((answers.letters + 1).sum()),
        keystrokes_saved=int((answers.letters - answers.typed).sum()),
        log_likelihood=float(answers.log_likelihood[answers.known].sum()),
    )
