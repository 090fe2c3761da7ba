"""What evaluation asks a predictor: typed messages as ids, with the letters that each word cost."""

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenizer.prefix_index import PrefixIndex
from tokenizer.text import tokenize
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

IntArray = npt.NDArray[np.int64]


class TypedMessage(NamedTuple):
    """One message as evaluation needs it: an unknown word has lost its letters, so their number stands beside.

    Attributes:
      ids: the start, then one id a word or punctuation mark, as `Vocabulary.encode_message` gives them.
      word_chars: for each of `ids`, the letters of the word; 0 for the start and for punctuation, which are context
        and no targets.

    """

    ids: list[int]
    word_chars: list[int]


def type_messages(texts: Iterable[str], vocabulary: Vocabulary) -> list[TypedMessage]:
    """Encodes `texts`; those without any word are left out, for they have no target."""
    typed = []
    for text in texts:
        tokens = tokenize(text)
        if any(token.is_word for token in tokens):
            chars = [len(token.text) if token.is_word else 0 for token in tokens]
            typed.append(TypedMessage(vocabulary.encode_message(text), [0, *chars]))
    return typed


class SuggestionIndex:
    """The words that may be suggested, in alphabetical order, and where each prefix of each word lies among them."""

    def __init__(self, vocabulary: Vocabulary):
        """Indexes the vocabulary's target ids: neither punctuation nor the unknown word is ever suggested."""
        self.vocabulary_size = len(vocabulary)
        self._words = vocabulary.words
        self._prefixes = PrefixIndex(vocabulary.words, sorted(vocabulary.target_ids))
        self.ids: IntArray = self._prefixes.ids
        """int64 [num_suggestions], alphabetical by word."""

    def span(self, prefix: str) -> tuple[int, int]:
        """The half-open range of `ids` whose words begin with `prefix`, in its normal form."""
        return self._prefixes.span(prefix)

    @cached_property
    def spans(self) -> IntArray:
        """int64 [vocabulary, prefixes, 2]: for each id and each number of letters typed, the half-open range of `ids`
        that still fit. Prefixes longer than the word repeat the whole word's range; other ids have empty ranges.
        """
        longest = max((len(self._words[index]) for index in self.ids), default=0)
        spans = np.zeros((self.vocabulary_size, longest + 1, 2), dtype=np.int64)
        for index in self.ids:
            word = self._words[index]
            fits = [self._prefixes.span(word[:typed]) for typed in range(len(word) + 1)]
            spans[index] = fits + fits[-1:] * (longest - len(word))
        return spans


def is_target(message: TypedMessage) -> npt.NDArray[np.bool_]:
    """Which positions after the start are words, known or not: bool [len(ids) - 1]."""
    return np.array(message.word_chars[1:], dtype=np.int64) > 0


def is_known(message: TypedMessage) -> npt.NDArray[np.bool_]:
    """Which positions after the start are words of the vocabulary: bool [len(ids) - 1]."""
    in_vocabulary: npt.NDArray[np.bool_] = np.array(message.ids[1:], dtype=np.int64) != UNKNOWN_ID
    return is_target(message) & in_vocabulary
