"""The candidates of one level: every prefix that survived, with every way to go on.

A list says which prefixes, so that service and device number the same candidates without either sending them:
candidates of one prefix lie side by side, shorter ones first, those of one length in the alphabet's order.

| prefixes | letters | step | candidates, `.` marking the end of a word    |
|----------|---------|------|----------------------------------------------|
| "" alone | ab      | 2    | `.`, `a.`, `b.`, `aa`, `ab`, `ba`, `bb`      |
| ab, ba   | ab      | 1    | `ab.`, `aba`, `abb`, `ba.`, `baa`, `bab`     |

The words of a list are what some devices typed: it goes to devices only after noise and threshold (`advance`).
"""

from bisect import bisect_left
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import msgspec

from protocol.decoding import decode_json
from protocol.discovery.parameters import MAX_CANDIDATES, MAX_PREFIXES, MAX_STEP, check_letters, num_extensions
from protocol.errors import MalformedMessage

MAX_LIST_BYTES = 512 * 1024
MAX_DEPTH = 48
"""Letters of a prefix at most: those of the longest word that any vocabulary has."""


class Candidate(NamedTuple):
    """What can be voted for: a whole word, or a prefix of longer ones."""

    text: str
    is_word: bool


class CandidateList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidates of one level.

    Attributes:
      letters: the alphabet, in order.
      step: how many letters this level adds, 1 to 4.
      prefixes: distinct, in order, all of the same length; words that ended are no longer among them.

    Raises:
      ValueError: one of these is out of its bound. The message never quotes a prefix.

    """

    format_version: Literal[1] = 1
    letters: str
    step: Annotated[int, msgspec.Meta(ge=1, le=MAX_STEP)]
    prefixes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_PREFIXES)]

    def __post_init__(self) -> None:
        check_letters(self.letters)
        if self.depth > MAX_DEPTH or any(len(prefix) != self.depth for prefix in self.prefixes):
            raise ValueError(f"prefixes must all have the same length, at most {MAX_DEPTH} letters")
        if not set().union(*self.prefixes) <= set(self.letters):
            raise ValueError("prefixes must consist of the list's letters")
        if any(before >= after for before, after in pairwise(self.prefixes)):
            raise ValueError("prefixes must be distinct and in order")
        if self.size > MAX_CANDIDATES:
            raise ValueError(f"a list must have at most {MAX_CANDIDATES} candidates, got {self.size}")

    @property
    def depth(self) -> int:
        """Letters of each prefix."""
        return len(self.prefixes[0])

    @property
    def num_extensions(self) -> int:
        """Candidates of each prefix."""
        return num_extensions(len(self.letters), self.step)

    @property
    def size(self) -> int:
        """Candidates in all: the length of a vector of votes."""
        return len(self.prefixes) * self.num_extensions

    def index_of(self, word: str) -> int | None:
        """The candidate that a device with `word` votes for; None if the list has none.

        >>> CandidateList(letters="ab", step=1, prefixes=("ab", "ba")).index_of("baab")
        4
        """
        place = bisect_left(self.prefixes, word[: self.depth])
        if place == len(self.prefixes) or self.prefixes[place] != word[: self.depth]:
            return None
        rest = word[self.depth : self.depth + self.step]
        if not set(rest) <= set(self.letters):
            return None
        number = 0
        for letter in rest:
            number = number * len(self.letters) + self.letters.index(letter)
        return place * self.num_extensions + self._first_of_length(len(rest)) + number

    def candidate(self, index: int) -> Candidate:
        """The candidate of that number.

        >>> CandidateList(letters="ab", step=1, prefixes=("ab", "ba")).candidate(3)
        Candidate(text='ba', is_word=True)

        Raises:
          IndexError: there is none.

        """
        if not 0 <= index < self.size:
            raise IndexError(f"index must be 0 to {self.size - 1}, got {index}")
        place, extension = divmod(index, self.num_extensions)
        length = next(each for each in range(self.step, -1, -1) if self._first_of_length(each) <= extension)
        number = extension - self._first_of_length(length)
        rest = ""
        for _ in range(length):
            number, letter = divmod(number, len(self.letters))
            rest = self.letters[letter] + rest
        return Candidate(self.prefixes[place] + rest, is_word=length < self.step)

    def _first_of_length(self, length: int) -> int:
        """How many extensions of a prefix are shorter than `length`."""
        return num_extensions(len(self.letters), length - 1)


def first_candidates(letters: str, step: int) -> CandidateList:
    """The first level's: all beginnings of words.

    Raises:
      ValueError: an argument out of its bound.

    """
    return CandidateList(letters=letters, step=step, prefixes=("",))


def encode_candidates(candidates: CandidateList) -> bytes:
    """Service: the list's bytes, the same for the same list, so that it can be named by its hash."""
    return msgspec.json.encode(candidates, order="deterministic")


def decode_candidates(payload: bytes) -> CandidateList:
    """Device: reads a list, and refuses one that is not exactly as `encode_candidates` writes it.

    Raises:
      MalformedMessage: too long, not a list, prefixes that are repeated, out of order, of different lengths or of other
        letters, too many candidates, or another way to write a list.

    """
    if len(payload) > MAX_LIST_BYTES:
        raise MalformedMessage(f"a candidate list must have at most {MAX_LIST_BYTES} bytes, got {len(payload)}")
    candidates = decode_json(payload, CandidateList, "candidate list")
    if encode_candidates(candidates) != payload:
        raise MalformedMessage("a candidate list must be written in its one canonical way")
    return candidates
