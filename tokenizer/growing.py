"""A vocabulary grows by words at its end: every id that was given stays.

SentencePiece offers no such step, and training anew would sort all words again. But its model file is a protocol
buffers message, and of two such messages written one after the other the fields are merged: lists are joined, of single
values the last counts (Protocol Buffers, "Encoding", on fields that come twice). So what is new is written behind.

| field of ModelProto (sentencepiece_model.proto)   | number | what is written                        |
|---------------------------------------------------|--------|----------------------------------------|
| pieces: piece, score                              | 1: 1, 2 | each new word, the log of its share   |
| trainer_spec: vocab_size                          | 2: 4   | how many ids there are now             |
"""

import math
import struct
from collections.abc import Mapping

from tokenizer.text import MAX_WORD_CHARS, OVERLONG_WORD, is_word
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

_SPACE = "\u2581"
_VARINT, _BYTES, _FLOAT = 0, 2, 5  # wire types


class WrongWord(ValueError):
    """A word that a vocabulary cannot grow by. The message gives its place among those offered, never the word."""


def grow_vocabulary(vocabulary: Vocabulary, shares: Mapping[str, float]) -> Vocabulary:
    """Appends words to a vocabulary.

    Args:
      vocabulary: stays as it is.
      shares: each new word, in its normal form, and how frequent it is, as a share of the text that the vocabulary
        was trained from; in (0, 1). Those of largest share get the lowest ids, equal ones by the alphabet.

    Returns:
      The larger vocabulary, as a model of its own.

    Guarantees:
      Every word keeps its id and its log-probability, so weights can grow by rows (`model.growing`), and text of old
      words is encoded as before. The same arguments give the same bytes. Shares of all words then add up to more than
      1, by those of the new.

    | shares    | result                     |
    |-----------|----------------------------|
    | none      | a vocabulary that is equal |
    | any order | the same vocabulary        |

    Raises:
      WrongWord: a word that is known, not one word in its normal form, or overlong; a share that is not in (0, 1).

    """
    for place, (word, share) in enumerate(shares.items()):
        _check(vocabulary, word, share, place)
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    pieces = b"".join(_piece(word, math.log(share)) for word, share in ranked)
    size = _field(4, _VARINT, _varint(len(vocabulary) + len(ranked)))
    return Vocabulary(vocabulary.model + pieces + _field(2, _BYTES, size) if ranked else vocabulary.model)


def estimated_shares(vocabulary: Vocabulary, votes: Mapping[str, float]) -> dict[str, float]:
    """How frequent discovered words are taken to be, until training knows better.

    A number of devices is no count of words, so it is not turned into one: the word most voted for is taken to be as
    frequent as the words at the end of the vocabulary's rarest tenth, the others less in proportion.

    Args:
      vocabulary: that the words are to join.
      votes: noised numbers of devices, above 0.

    Returns:
      The share of each word, in (0, 1), for `grow_vocabulary`.

    Raises:
      ValueError: a vocabulary without words, or votes that are not above 0.

    """
    if not vocabulary.target_ids:
        raise ValueError("a vocabulary must have words to compare with, got none")
    if not all(devices > 0 for devices in votes.values()):
        raise ValueError("votes must be > 0")
    scores = sorted(vocabulary.log_probabilities[index] for index in vocabulary.target_ids)
    most = max(votes.values(), default=1.0)
    return {word: math.exp(scores[len(scores) // 10]) * devices / most for word, devices in votes.items()}


def _check(vocabulary: Vocabulary, word: str, share: float, place: int) -> None:
    if word == OVERLONG_WORD or len(word) > MAX_WORD_CHARS or not is_word(word):
        raise WrongWord(f"new word {place} must be one word of at most {MAX_WORD_CHARS} characters in its normal form")
    if vocabulary.id_of(word) != UNKNOWN_ID:
        raise WrongWord(f"new word {place} must not be in the vocabulary yet")
    if not 0 < share < 1:
        raise WrongWord(f"the share of new word {place} must be in (0, 1), got {share}")


def _piece(word: str, score: float) -> bytes:
    text = _field(1, _BYTES, f"{_SPACE}{word}".encode())
    return _field(1, _BYTES, text + _field(2, _FLOAT, struct.pack("<f", score)))


def _field(number: int, wire_type: int, payload: bytes) -> bytes:
    """One field: its key, the length where the wire type asks for one, the payload."""
    length = _varint(len(payload)) if wire_type == _BYTES else b""
    return _varint(number << 3 | wire_type) + length + payload


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set where more follow."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
