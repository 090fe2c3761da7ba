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
    """Packs encoded messages into sequences of `sequence_length` predictions.

    A sequence holds several messages where they are short: the network forgets what was before a message's start, so
    each is as if it were alone, and little of a batch is padding. What a long message goes on with after its first
    `sequence_length` predictions begins another sequence, from its last word on.

    Args:
      messages: ids, as `Vocabulary.encode_message` gives them: the start, then one id a token.
      vocabulary: says which ids are targets.
      sequence_length: predictions a sequence.

    """
    rows = _pack(messages, sequence_length)
    tokens = np.zeros((len(rows), sequence_length), dtype=np.int32)
    targets = np.zeros((len(rows), sequence_length), dtype=np.int32)
    for row, pieces in enumerate(rows):
        read = [index for piece in pieces for index in piece[:-1]]
        tokens[row, : len(read)] = read
        targets[row, : len(read)] = [index for piece in pieces for index in piece[1:]]
    is_target = np.zeros(len(vocabulary), dtype=np.float32)
    is_target[list(vocabulary.target_ids)] = 1
    return Examples(tokens, targets, is_target[targets])


def count_sequences(lengths: Iterable[int], sequence_length: int) -> int:
    """How many sequences `make_examples` makes of messages of so many tokens each, the start not counted."""
    return len(_pack((range(length + 1) for length in lengths), sequence_length))


def _pack(messages: Iterable[Sequence[int]], length: int) -> list[list[Sequence[int]]]:
    """Pieces of messages by sequence: the longest first, each where it leaves the least room.

    Source: best fit decreasing, Johnson et al. 1974, doi 10.1137/0203025.
    """
    starts: list[Sequence[int]] = []
    rows: list[list[Sequence[int]]] = []
    for message in messages:
        pieces = [message[first : first + length + 1] for first in range(0, len(message) - 1, length)]
        starts += pieces[:1]
        rows += [[piece] for piece in pieces[1:]]  # they have no start to forget by, so nothing may be before them
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by predictions left
    for row, (piece,) in enumerate(rows):
        with_room[length - len(piece) + 1].append(row)
    for piece in sorted(starts, key=len, reverse=True):
        taken = len(piece) - 1
        room = next((room for room in range(taken, length + 1) if with_room[room]), None)
        if room is None:
            room, row = length, len(rows)
            rows.append([])
        else:
            row = with_room[room].pop()
        rows[row].append(piece)
        with_room[room - taken].append(row)
    return rows


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
