"""The prefix index: which words begin with the letters typed so far."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_LAST = chr(0x10FFFF)


class PrefixIndex:
    """Words in alphabetical order, so that those with one prefix lie side by side."""

    def __init__(self, words: Sequence[str], ids: Sequence[int]):
        """Indexes `ids`, each with its word `words[id]`."""
        ordered = sorted(ids, key=lambda index: words[index])
        self._sorted_words = [words[index] for index in ordered]
        self.ids: npt.NDArray[np.int64] = np.array(ordered, dtype=np.int64)
        """All ids in the alphabetical order of their words."""

    def span(self, prefix: str) -> tuple[int, int]:
        """The half-open range of `ids` whose words begin with `prefix`."""
        return bisect_left(self._sorted_words, prefix), bisect_left(self._sorted_words, prefix + _LAST)

    def starting_with(self, prefix: str) -> npt.NDArray[np.int64]:
        """The ids of the words that begin with `prefix`."""
        first, last = self.span(prefix)
        return self.ids[first:last]
