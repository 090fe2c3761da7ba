"""What a word is, what a sentence is, and how text is normalised. Everything else asks here."""

import re
import unicodedata
from typing import NamedTuple

MAX_WORD_CHARS = 48
"""Longer runs of letters are not words that a keyboard suggests: they become `OVERLONG_WORD`."""

OVERLONG_WORD = "<overlong>"
"""Stands for a run of letters beyond `MAX_WORD_CHARS`; no vocabulary holds it, so it is always unknown."""

PUNCTUATION = frozenset(".,?!:;")
SENTENCE_ENDS = frozenset(".?!")

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'"})
_LETTERS = "[^\\W_][^\\W_\u0300-\u036f]*[\u0300-\u036f]*"
_TOKEN = re.compile(f"(?P<word>(?:{_LETTERS})+(?:'(?:{_LETTERS})+)*)|(?P<punctuation>[.,?!:;])[.,?!:;]*")


class Token(NamedTuple):
    """A word or a punctuation mark of a text.

    Attributes:
      text: the normal form: NFKC, lower case, straight apostrophe; a run of marks is its first mark.
      surface: as it was typed, after NFKC.
      is_word: words are targets; punctuation is context only.

    """

    text: str
    surface: str
    is_word: bool


def tokenize(text: str) -> list[Token]:
    """Cuts `text` into words and punctuation marks; everything else (spaces, emoji, symbols) separates them.

    >>> [token.text for token in tokenize("Don\u2019t panic!! It's 5 o'clock :)")]
    ["don't", 'panic', '!', "it's", '5', "o'clock", ':']
    """
    normal = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    return [_token(match) for match in _TOKEN.finditer(normal)]


def _token(match: re.Match[str]) -> Token:
    mark = match["punctuation"]
    if mark is not None:
        return Token(mark, mark, is_word=False)
    surface = match["word"]
    if len(surface) > MAX_WORD_CHARS:
        return Token(OVERLONG_WORD, OVERLONG_WORD, is_word=True)
    return Token(lower(surface), surface, is_word=True)


def lower(word: str) -> str:
    """Lower case of one word, kept stable under repeated normalisation.

    >>> lower("IT'S")
    "it's"
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).lower())


def ends_sentence(token: Token) -> bool:
    """Whether the word after `token` begins a sentence."""
    return token.text in SENTENCE_ENDS


def is_word(text: str) -> bool:
    """Whether `text` is exactly one word in its normal form.

    >>> is_word("o'clock"), is_word("two words"), is_word("!"), is_word("Word")
    (True, False, False, False)
    """
    tokens = tokenize(text)
    return len(tokens) == 1 and tokens[0].is_word and tokens[0].text == text
