"""A back-off n-gram model as arrays, and the predictor that reads whole distributions off it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.targets import IntArray
from protocol.arrays import FloatArray

Probabilities = npt.NDArray[np.float64]
ABSENT = -1


@dataclass(frozen=True, eq=False, kw_only=True)
class Level:
    """The n-grams of one order: contexts of order - 1 tokens, and the words that are listed behind each.

    Attributes:
      contexts: int64 [contexts], rising; a context is `lower * vocabulary + token`, where `lower` is the place, in the
        level below, of the context without its first token, and `token` is that first token. The first level has one,
        the empty context.
      log_backoffs: float32 [contexts], what is added to the score that the level below gives a word not listed here.
      first: int64 [contexts + 1], where the words of each context begin.
      words: int64 [entries], rising within a context.
      log_probabilities: float32 [entries], of the word behind the context.

    """

    contexts: IntArray
    log_backoffs: FloatArray
    first: IntArray
    words: IntArray
    log_probabilities: FloatArray

    @property
    def owners(self) -> IntArray:
        """The context of each entry: int64 [entries]."""
        return np.repeat(np.arange(len(self.contexts)), np.diff(self.first))


class NgramModel(NamedTuple):
    """P(w | h) = the listed probability if h lists w, else backoff(h) * P(w | h without its first token).

    Attributes:
      vocabulary_size: number of ids.
      levels: by order, from 1; the first lists every word that can come at all.

    """

    vocabulary_size: int
    levels: tuple[Level, ...]

    @property
    def num_entries(self) -> int:
        """N-grams of all orders."""
        return sum(len(level.words) for level in self.levels)

    def find_contexts(self, tokens: IntArray, places: IntArray) -> list[IntArray]:
        """Finds the contexts that end at each token.

        Args:
          tokens: int64 [tokens], messages one behind the other.
          places: int64 [tokens], each token's place in its message; no context reaches into another message.

        Returns:
          For each level the place of its context among the level's, `ABSENT` if it is not there: int64 [tokens] each.

        """
        found = [np.zeros(len(tokens), np.int64)]
        for span, level in enumerate(self.levels[1:]):
            reaches = (found[-1] != ABSENT) & (places >= span)
            keys = context_keys(found[-1], np.roll(tokens, span), self.vocabulary_size)
            found.append(np.where(reaches, _find(level.contexts, keys), ABSENT))
        return found

    def log_probability(self, order: int, contexts: IntArray, words: IntArray) -> Probabilities:
        """Looks up single words.

        Args:
          order: of the model, from 1: longer n-grams are not asked.
          contexts: int64 [n], places among the contexts of that order.
          words: int64 [n].

        Returns:
          Natural logarithms, float64 [n]; -inf for a word that never comes.

        """
        level = self.levels[order - 1]
        keys = level.owners * self.vocabulary_size + level.words
        places = _find(keys, contexts * self.vocabulary_size + words)
        if order == 1:
            values = np.full(len(words), -np.inf)
        else:
            lower = level.contexts[contexts] // self.vocabulary_size
            values = self.log_probability(order - 1, lower, words) + level.log_backoffs[contexts]
        listed = places != ABSENT
        values[listed] = level.log_probabilities[places[listed]]
        return values


class NgramPredictor:
    """An n-gram model behind `evaluation.predictors.Predictor`.

    Its scores are log-probabilities of the next word, given that the next token is a word of the vocabulary: as the
    networks, it is trained to predict these only. Other ids have -inf; a softmax over the vocabulary changes nothing.
    """

    def __init__(self, model: NgramModel, *, max_batch_tokens: int = 1024):
        """Takes a model with at least one word.

        Args:
          model: trained on messages as `Vocabulary.encode_message` gives them.
          max_batch_tokens: bounds the memory of a batch (a single longer message excepted): its scores take 4 bytes a
            token and word.

        """
        self._model = model
        self._max_batch_tokens = max_batch_tokens
        first = model.levels[0]
        self._unigrams: FloatArray = np.full(model.vocabulary_size, -np.inf, np.float32)
        self._unigrams[first.words] = first.log_probabilities

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """See `Predictor.score`."""
        first, tokens = 0, 0
        for last, message in enumerate(messages):
            if last > first and tokens + len(message) - 1 > self._max_batch_tokens:
                yield from self._score(messages[first:last])
                first, tokens = last, 0
            tokens += len(message) - 1
        if first < len(messages):
            yield from self._score(messages[first:])

    def _score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """One dense row of unigrams for each token; then each longer context overwrites the few words that it lists."""
        histories = [message[:-1] for message in messages]
        tokens, places = flatten(histories)
        found = self._model.find_contexts(tokens, places)
        backoffs = [
            np.where(contexts == ABSENT, 0, level.log_backoffs[contexts]).astype(np.float32)
            for level, contexts in zip(self._model.levels, found, strict=True)
        ]
        above = np.cumsum(backoffs[::-1], axis=0)[::-1]  # [level, token], all back-offs from that level up
        scores = self._unigrams + above[0][:, None]
        for order in range(1, len(found)):
            level, contexts = self._model.levels[order], found[order]
            rows, entries = _listed(level, contexts)
            scores[rows, level.words[entries]] = (
                level.log_probabilities[entries] + (above[order] - backoffs[order])[rows]
            )
        yield from np.split(scores, np.cumsum([len(history) for history in histories])[:-1])


def flatten(messages: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
    """Lays messages one behind the other: their tokens, and each token's place in its message; int64 [tokens] both."""
    lengths = np.array([len(message) for message in messages], np.int64)
    tokens = np.fromiter((token for message in messages for token in message), np.int64, int(lengths.sum()))
    places = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return tokens, places


def context_keys(lower: IntArray, tokens: IntArray, vocabulary_size: int) -> IntArray:
    """Names contexts by the shorter context in the level below and the token before it; see `Level.contexts`."""
    return lower * vocabulary_size + tokens


def _find(rising: IntArray, wanted: IntArray) -> IntArray:
    """The places of `wanted` in `rising`, or `ABSENT`."""
    if not len(rising):
        return np.full(len(wanted), ABSENT, np.int64)
    places = np.minimum(np.searchsorted(rising, wanted), len(rising) - 1)
    return np.where(rising[places] == wanted, places, ABSENT)


def _listed(level: Level, contexts: IntArray) -> tuple[IntArray, IntArray]:
    """All entries of `contexts` (places, or `ABSENT`): which of `contexts` each belongs to, and where it lies."""
    present = np.flatnonzero(contexts != ABSENT)
    starts = level.first[contexts[present]]
    lengths = level.first[contexts[present] + 1] - starts
    ends = np.cumsum(lengths)
    return np.repeat(present, lengths), np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
