"""Fine-tuned weights: what a person's log changes in the output layer of the shared model.

The network's last step is logits = projected · embeddingᵀ + bias. A release holds these weights as int8, inside the
model, but gives `projected` away: it is the part of the recurrent state that the next token is told. So a correction of
embedding and bias can be trained beside the model, by exact gradients and without a training graph, and a step of it
costs a hundredth of one of the whole network.
"""

from typing import Annotated

import msgspec
import numpy as np

from device_runtime.suggestions.next_word import DoubleArray
from protocol.arrays import FloatArray

NUM_WORDS = 1_000
"""Rows that are corrected: a vocabulary's ids fall by count, so these are most of what anybody types."""

_BIAS_RATE = 0.05
_WEIGHT_RATE = 0.003
_Size = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class DamagedLayer(Exception):
    """Bytes that are no output layer."""


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    num_words: _Size
    embedding_size: _Size
    values: bytes


class OutputLayer:
    """A correction of the logits of the most frequent words; none at all until it has learnt.

    Learns by plain SGD, one step a word (cross-entropy; its gradient by the logits is p - 1[target]).
    """

    def __init__(self, embedding_size: int, num_words: int = NUM_WORDS):
        """Begins with zeros.

        Args:
          embedding_size: of `projected`.
          num_words: rows, at most the vocabulary's size.

        """
        self._bias: FloatArray = np.zeros(num_words, np.float32)
        self._weights: FloatArray = np.zeros((num_words, embedding_size), np.float32)

    def adjust(self, logits: FloatArray, projected: FloatArray) -> FloatArray:
        """Corrected logits: float32 [vocabulary]; `projected` is float32 [embedding]."""
        adjusted = logits.copy()
        adjusted[: len(self._bias)] += self._bias + self._weights @ projected
        return adjusted

    def learn(self, probabilities: DoubleArray, projected: FloatArray, target_id: int) -> None:
        """Takes one step.

        Args:
          probabilities: float64 [vocabulary], by the corrected logits.
          projected: float32 [embedding], that they were computed from.
          target_id: what was typed.

        """
        towards = -probabilities[: len(self._bias)].astype(np.float32)
        if target_id < len(towards):
            towards[target_id] += 1
        self._bias += _BIAS_RATE * towards
        self._weights += np.outer(_WEIGHT_RATE * towards, projected)

    def to_bytes(self) -> bytes:
        """Writes the correction in half precision: 194 KB at full size."""
        num_words, embedding_size = self._weights.shape
        values = np.column_stack([self._bias, self._weights]).astype("<f2").tobytes()
        return msgspec.msgpack.encode(_Stored(num_words, embedding_size, values))

    @classmethod
    def from_bytes(cls, payload: bytes) -> "OutputLayer":
        """Reads `to_bytes`'s bytes.

        Raises:
          DamagedLayer: not such bytes, or not finite.

        """
        try:
            stored = msgspec.msgpack.decode(payload, type=_Stored)
            values = np.frombuffer(stored.values, "<f2").reshape(stored.num_words, stored.embedding_size + 1)
        except (msgspec.DecodeError, ValueError):
            raise DamagedLayer("an output layer must be a bias and weights for each word, got other bytes") from None
        if not np.isfinite(values).all():
            raise DamagedLayer("an output layer must be finite, got NaN or infinity")
        layer = cls(stored.embedding_size, stored.num_words)
        layer._bias[:], layer._weights[:] = values[:, 0], values[:, 1:]
        return layer
