"""Predictors behind one protocol, so that all answer the same questions; and suggesters, which answer fewer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from protocol.arrays import FloatArray
from protocol.weights import Weights
from tokenizer.vocabulary import Vocabulary


@runtime_checkable
class Predictor(Protocol):
    """Anything that can say which word comes next."""

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """Scores every next word of every message, each message by itself.

        Args:
          messages: ids, the start first. Sorting them by length makes batches cheap; the result never depends on it.

        Yields:
          For each message, in order, float32 [len(message) - 1, vocabulary]: row i holds logits or log-probabilities
          of the token after `message[: i + 1]`, computed from these alone. -inf is allowed, NaN is not.

        """
        ...


@runtime_checkable
class Suggester(Protocol):
    """Anything that shows a few words and no more: no scores, no probabilities. Asked key by key, so slower."""

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        """What is shown before the next key is struck.

        Args:
          before: the message so far, as typed; it is empty or ends in a space.
          prefix: the letters typed of the current word; empty between words.

        Returns:
          At most three words, best first, as they would be shown; capitals do not count.

        """
        ...

    def learn(self, message: str) -> None:
        """Takes note of a message that was sent; may do nothing. Never called where one suggester serves all people."""
        ...


class UnigramPredictor:
    """Suggests the most frequent words whatever came before: what a keyboard can do with a word list alone.

    A word's score is the logarithm of its count plus one over their total (add-one smoothing). Punctuation and special
    ids count as never seen, since the networks are not trained to predict them either.
    """

    def __init__(self, vocabulary: Vocabulary, counts: Mapping[str, int]):
        """Takes the counts of words in their normal form, as `tokenizer.training.count_words` gives them."""
        smoothed = np.ones(len(vocabulary))
        for index in vocabulary.target_ids:
            smoothed[index] += counts.get(vocabulary.words[index], 0)
        self._log_probabilities: FloatArray = np.log(smoothed / smoothed.sum()).astype(np.float32)

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """See `Predictor.score`; the rows are one read-only row seen many times."""
        for message in messages:
            yield np.broadcast_to(self._log_probabilities, (len(message) - 1, self._log_probabilities.size))


class NetworkPredictor:
    """The network in TensorFlow, for evaluating many messages fast. Devices predict with TFLite instead."""

    def __init__(self, weights: Weights, *, max_batch_tokens: int = 1024):
        """Takes weights by name, as `model.network` describes them.

        Args:
          weights: of any `NetworkShape`.
          max_batch_tokens: bounds the memory of a batch: its logits take 4 bytes a token and word.

        """
        self._weights = weights
        self._max_batch_tokens = max_batch_tokens

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """See `Predictor.score`."""
        import tensorflow as tf

        from model.forward import forward_logits, zero_state

        weights = {name: tf.constant(value) for name, value in self._weights.items()}
        for batch in self._batches(messages):
            tokens = tf.constant(_padded(batch))
            logits, _ = forward_logits(weights, tokens, zero_state(len(batch), weights))
            for row, message in zip(logits.numpy(), batch, strict=True):
                yield row[: len(message) - 1]

    def _batches(self, messages: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
        """Cuts `messages`, in order, into batches whose padded size is at most `max_batch_tokens`."""
        first, longest = 0, 0
        for last, message in enumerate(messages):
            longest = max(longest, len(message) - 1)
            if last > first and longest * (last + 1 - first) > self._max_batch_tokens:
                yield messages[first:last]
                first, longest = last, len(message) - 1
        if first < len(messages):
            yield messages[first:]


def _padded(messages: Sequence[list[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """The inputs of `messages`, all but each last id: int32 [batch, longest], zeros after the end."""
    tokens = np.zeros((len(messages), max(len(message) for message in messages) - 1), dtype=np.int32)
    for row, message in enumerate(messages):
        tokens[row, : len(message) - 1] = message[:-1]
    return tokens
