"""Words that are never suggested: a list that the operator supplies, and whoever runs the keyboard may lengthen."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tokenizer.text import is_word, lower

MAX_LIST_BYTES = 4 * 1024 * 1024


class InvalidBlockList(Exception):
    """Bytes that are no list of words. The message names a line, never what stands there."""


class BlockList:
    """Words in the tokenizer's normal form, matched whole: "ass" does not take "class" with it.

    Guarantees:
      A word of the list is never suggested, whoever typed it and in whatever capitals: not as a next word, not as a
      completion, not as a personal word.
    """

    def __init__(self, words: Iterable[str] = ()):
        """Takes words in their normal form."""
        self._words = frozenset(words)

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def __len__(self) -> int:
        return len(self._words)

    def __or__(self, other: "BlockList") -> "BlockList":
        """The words of both lists."""
        return BlockList(self._words | other._words)

    @classmethod
    def from_text(cls, content: bytes) -> Self:
        """Reads a plain text: one word a line in any capitals; empty lines and lines that begin with `#` are left out.

        Raises:
          InvalidBlockList: longer than 4 MiB, not UTF-8, or a line that is not exactly one word.

        """
        if len(content) > MAX_LIST_BYTES:
            raise InvalidBlockList(f"a block list must have at most {MAX_LIST_BYTES} bytes, got {len(content)}")
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InvalidBlockList("a block list must be UTF-8 text, got other bytes") from None
        words = []
        for number, line in enumerate(lines, start=1):
            word = lower(line.strip().replace("\u2019", "'"))
            if not word or word.startswith("#"):
                continue
            if not is_word(word):
                raise InvalidBlockList(f"line {number} of a block list must be one word, got something else")
            words.append(word)
        return cls(words)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads such a file.

        Raises:
          InvalidBlockList: see `from_text`.
          OSError: the file cannot be read.

        """
        return cls.from_text(path.read_bytes())
