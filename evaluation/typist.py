"""Somebody who types key by key, and takes the right word as soon as it shows."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from evaluation.predictors import Suggester
from tokenizer.text import OVERLONG_WORD, Token, lower, tokenize

Show = Callable[[str], Sequence[str]]
"""What is shown after the letters typed of a word, best first."""


class TypedWord(NamedTuple):
    """A word that was typed.

    Attributes:
      token: the word.
      rank: its place among the words shown before a letter was typed; None if it was not there.
      letters: typed until it was shown; all of them if it never was.

    """

    token: Token
    rank: int | None
    letters: int


def type_word(word: str, show: Show) -> tuple[int | None, int]:
    """Types `word` until it is shown, capitals aside; returns rank and letters, see `TypedWord`."""
    for letters in range(len(word)):
        shown = [lower(each) for each in show(word[:letters])]
        if lower(word) in shown:
            return (shown.index(lower(word)) if letters == 0 else None), letters
    return None, len(word)


def type_text(text: str, suggester: Suggester) -> Iterator[TypedWord]:
    """Types a message; overlong words are typed to their end without a look at what is shown."""
    before = ""
    for token in tokenize(text):
        if token.is_word:
            yield TypedWord(token, *_type_token(token, before, suggester))
        before += token.surface + " "


def _type_token(token: Token, before: str, suggester: Suggester) -> tuple[int | None, int]:
    if token.text == OVERLONG_WORD:
        return None, len(OVERLONG_WORD)
    return type_word(token.surface, lambda prefix: suggester.suggest(before, prefix))
