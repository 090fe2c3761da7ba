"""What a discovery does, frozen before its first level: alphabet, levels, votes of a device, what must stay hidden."""

import math
import unicodedata
from typing import Annotated

import msgspec

APOSTROPHE = "'"
ENGLISH_LETTERS = "'abcdefghijklmnopqrstuvwxyz"

MAX_STEP = 4
MAX_LEVELS = 16
MAX_LETTERS = 64
MAX_PREFIXES = 2_000
"""Of one list: with prefixes of 12 letters it has 30 kB, half of what a plan may have."""
MAX_CANDIDATES = 1 << 20
"""Of one list, so that a device's votes are no longer than an update of the full-size model."""


def check_letters(letters: str) -> None:
    """Checks an alphabet: 2 to 64 distinct characters in order, each a lower-case letter in NFKC or an apostrophe.

    Raises:
      ValueError: it is not.

    """
    if not 2 <= len(letters) <= MAX_LETTERS:
        raise ValueError(f"letters must be 2 to {MAX_LETTERS} characters, got {len(letters)}")
    if "".join(sorted(set(letters))) != letters:
        raise ValueError("letters must be distinct and in order")
    if not all(_may_be_in_words(letter) for letter in letters):
        raise ValueError("letters must be lower-case letters in normal form NFKC, or the apostrophe")


def _may_be_in_words(letter: str) -> bool:
    normal = unicodedata.normalize("NFKC", letter)
    return letter == APOSTROPHE or (letter.isalpha() and letter == normal == normal.lower())


def num_extensions(num_letters: int, step: int) -> int:
    """How a prefix may go on in one level: ended after 0 to `step - 1` further letters, or with `step` of them."""
    return sum(num_letters**length for length in range(step + 1))


class DiscoveryParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All choices of a discovery but its noise.

    Attributes:
      letters: that discovered words consist of.
      steps: how many letters each level adds; a device takes part once a level.
      max_words: k, of one device, that it votes for in every level.
      min_messages: m, of a device, that must hold a word before it votes for it.
      max_prefixes: that go on to the next level, those with most votes first.
      hidden_devices: h: what at most so many devices have is not to come out.
      chance: beta, that any of that does, over all levels together.

    Raises:
      ValueError: one of these is out of its bound, or a level could have more than `MAX_CANDIDATES` candidates.

    """

    letters: str = ENGLISH_LETTERS
    steps: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1, le=MAX_STEP)], ...], msgspec.Meta(min_length=1, max_length=MAX_LEVELS)
    ] = (4, 2, 2, 2, 2)
    max_words: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 16
    min_messages: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    max_prefixes: Annotated[int, msgspec.Meta(ge=1, le=MAX_PREFIXES)] = 1_000
    hidden_devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    chance: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-6

    def __post_init__(self) -> None:
        check_letters(self.letters)
        largest = max(self.candidates_by_level)
        if largest > MAX_CANDIDATES:
            raise ValueError(f"a level must have at most {MAX_CANDIDATES} candidates, got up to {largest}")

    @property
    def max_letters(self) -> int:
        """Of a word that can be found: whether a longer one ends is never asked."""
        return sum(self.steps) - 1

    @property
    def candidates_by_level(self) -> tuple[int, ...]:
        """The most candidates of each level: the first has one prefix, the empty one."""
        first, *later = (num_extensions(len(self.letters), step) for step in self.steps)
        return (first, *(self.max_prefixes * extensions for extensions in later))

    @property
    def vote_norm(self) -> float:
        """C: the L2 norm of a device's votes in one level is at most sqrt(`max_words`)."""
        return math.sqrt(self.max_words)
