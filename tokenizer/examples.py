"""Training examples: messages as fixed-shape sequences, the same for pre-training, for devices and for evaluation."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenizer.vocabulary import Vocabulary

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


class Examples(NamedTuple):
    """Sequences of equal length, padded.

    Attributes:
      tokens: int32 [num_sequences, sequence_length], what the network reads.
      targets: int32 [num_sequences, sequence_length], the word that follows each of them.
      target_weights: float32 [num_sequences, sequence_length], 1 where a target counts, 0 for padding, punctuation
        and unknown words (a keyboard can suggest none of these).

    """

    tokens: IntArray
    targets: IntArray
    target_weights: FloatArray

    @property
    def num_targets(self) -> int:
        """Targets that count."""
        return int(self.target_weights.sum())


def make_examples(messages: Iterable[Sequence[int]], vocabulary: Vocabulary, sequence_length: int) -> Examples:
    """Cuts encoded messages into sequences of `sequence_length` predictions.

    Args:
      messages: ids, as `Vocabulary.encode_message` gives them: the start, then one id a token.
      vocabulary: says which ids are targets.
      sequence_length: predictions a sequence; a longer message continues in the next one, from its last word on.

    """
    pieces = [
        message[first : first + sequence_length + 1]
        for message in messages
        for first in range(0, len(message) - 1, sequence_length)
    ]
    tokens = np.zeros((len(pieces), sequence_length), dtype=np.int32)
    targets = np.zeros((len(pieces), sequence_length), dtype=np.int32)
    for row, piece in enumerate(pieces):
        tokens[row, : len(piece) - 1] = piece[:-1]
        targets[row, : len(piece) - 1] = piece[1:]
    is_target = np.zeros(len(vocabulary), dtype=np.float32)
    is_target[list(vocabulary.target_ids)] = 1
    return Examples(tokens, targets, is_target[targets])


def pad_to_batches(examples: Examples, batch_size: int) -> list[Examples]:
    """Cuts examples into batches of exactly `batch_size` sequences; the last is filled with weightless padding."""
    missing = -len(examples.tokens) % batch_size
    tokens = np.pad(examples.tokens, ((0, missing), (0, 0)))
    targets = np.pad(examples.targets, ((0, missing), (0, 0)))
    target_weights = np.pad(examples.target_weights, ((0, missing), (0, 0)))
    return [
        Examples(tokens[rows], targets[rows], target_weights[rows])
        for rows in (slice(first, first + batch_size) for first in range(0, len(tokens), batch_size))
    ]
