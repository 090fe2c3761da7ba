"""The vocabulary: words and punctuation marks to ids and back, held in a SentencePiece `word` model."""

from collections.abc import Iterable
from functools import cached_property

import sentencepiece

from tokenizer.text import MAX_WORD_CHARS, PUNCTUATION, Token, tokenize

_SPACE = "\u2581"  # SentencePiece's marker of a word's beginning

UNKNOWN_ID = 0
START_ID = 1
END_ID = 2
NUM_SPECIAL = 3


class InvalidVocabulary(Exception):
    """Bytes that are not a SentencePiece word model with our special ids."""


class Vocabulary:
    """Ids 0, 1, 2 are the unknown word, the start and the end of a message; then words by falling count, then
    those by which it grew.

    SentencePiece's `word` type merges neighbouring unknown words and splits on its own marker, so every word is looked
    up by itself, whole: `encode` never sees two words at once.
    """

    def __init__(self, model: bytes):
        """Loads a model written by `train_vocabulary`.

        Raises:
          InvalidVocabulary: not such a model.

        """
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError, TypeError):
            raise InvalidVocabulary("vocabulary must be a SentencePiece model") from None
        ids = (self._processor.unk_id(), self._processor.bos_id(), self._processor.eos_id())
        if ids != (UNKNOWN_ID, START_ID, END_ID):
            raise InvalidVocabulary(f"vocabulary must have unknown, start and end ids 0, 1, 2, got {ids}")

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The normal form of every id; special ids have names in angle brackets, which no word can have."""
        pieces = (self._processor.id_to_piece(index) for index in range(len(self)))
        return tuple(piece.removeprefix(_SPACE) for piece in pieces)

    @cached_property
    def log_probabilities(self) -> tuple[float, ...]:
        """The natural logarithm of every id's share of the counts that it was trained from; special ids have 0."""
        return tuple(float(self._processor.get_score(index)) for index in range(len(self)))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words) if index >= NUM_SPECIAL}

    def id_of(self, word: str) -> int:
        """The id of a word in its normal form; `UNKNOWN_ID` if the vocabulary does not have it."""
        return self._ids.get(word, UNKNOWN_ID) if len(word) <= MAX_WORD_CHARS else UNKNOWN_ID

    def encode(self, tokens: Iterable[Token]) -> list[int]:
        """The ids of `tokens`, one each."""
        return [self.id_of(token.text) for token in tokens]

    def encode_message(self, text: str) -> list[int]:
        """The ids of one typed message: the start, then one id for each word and punctuation mark."""
        return [START_ID, *self.encode(tokenize(text))]

    @cached_property
    def target_ids(self) -> frozenset[int]:
        """The ids that training predicts and evaluation counts: words, neither punctuation nor special ids."""
        return frozenset(index for word, index in self._ids.items() if word not in PUNCTUATION)
