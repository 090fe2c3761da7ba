"""A device's votes: 0 or 1 for each candidate, added up exactly.

Votes are small integers, so secure aggregation adds them as they are: no rotation, no rounding, and a sensitivity that
is exact. Uploads of them as float32 are exact, too; as int16 a 1 may lose 2^-23 of itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.discovery.candidates import CandidateList
from protocol.errors import MalformedMessage
from protocol.lanes import LaneArray, check_lanes, lane_dtype


def vote_vector(words: Sequence[str], candidates: CandidateList, *, max_words: int) -> FloatArray:
    """Device: votes for whatever its words begin with, or are.

    Args:
      words: that the device has chosen, the same in the same order in every level of a discovery.
      candidates: of this level.
      max_words: k >= 1; words after the first k are left out, whether these are candidates or not.

    Returns:
      float32 [candidates.size]: 1 for each candidate that at least one of the words leads to, else 0, so that sums
      are numbers of devices.

    Guarantees:
      At most k ones, so the L2 norm is at most sqrt(k), exactly.

    | word                                           | votes for                             |
    |------------------------------------------------|---------------------------------------|
    | twice, or two with the same candidate          | one vote                              |
    | of letters that the list does not have         | nothing, once these are reached       |
    | ended in an earlier level, or no prefix is its | nothing                               |
    | empty                                          | the empty word, in the first level    |

    Raises:
      ValueError: `max_words` is below 1.

    """
    if max_words < 1:
        raise ValueError(f"max_words must be >= 1, got {max_words}")
    votes = np.zeros(candidates.size, np.float32)
    for word in words[:max_words]:
        index = candidates.index_of(word)
        if index is not None:
            votes[index] = 1
    return votes


def check_votes(votes: npt.NDArray[np.float32] | npt.NDArray[np.int16], max_words: int) -> None:
    """Service: checks votes that were reported plain, so that no device has more of them than another.

    Raises:
      MalformedMessage: other values than 0 and 1, or more than `max_words` votes.

    """
    voted = votes[np.flatnonzero(votes)]
    if not (voted == 1).all():
        raise MalformedMessage("votes must be 0 or 1")
    if voted.size > max_words:
        raise MalformedMessage(f"there must be at most {max_words} votes, got {voted.size}")


@dataclass(frozen=True, kw_only=True)
class VoteCodec:
    """Votes as lanes, which secure aggregation sums modulo 2^value_bits.

    Attributes:
      value_bits: b, 8 to 32.
      max_cohort: n, largest number of devices whose votes are added; 1 to 2^(b - 1).
      vector_length: d >= 1, candidates of the level.
      max_words: k >= 1, of one device.

    Raises:
      ValueError: one of these is out of its bound.

    """

    value_bits: int
    max_cohort: int
    vector_length: int
    max_words: int

    def __post_init__(self) -> None:
        lane_dtype(self.value_bits)
        for name in ("max_cohort", "vector_length", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.max_cohort > 1 << (self.value_bits - 1):
            raise ValueError(f"max_cohort must be <= 2^{self.value_bits - 1}, got {self.max_cohort}")

    @property
    def squared_bound(self) -> int:
        """K = k: the squares of a device's integers add up to at most this. Exact."""
        return self.max_words

    @property
    def l2_bound(self) -> float:
        """sqrt(k): how far one device's votes move the sum in L2 norm at most, in devices."""
        return math.sqrt(self.max_words)

    def encode(self, votes: FloatArray) -> LaneArray:
        """Device: writes votes as lanes, `lane_dtype(value_bits)` [vector_length].

        Raises:
          ValueError: votes of another length, other than 0 and 1, or more than `max_words` of them.

        """
        if votes.shape != (self.vector_length,):
            raise ValueError(f"votes must be for {self.vector_length} candidates, got shape {list(votes.shape)}")
        voted = np.flatnonzero(votes != 0)  # of booleans it is ten times as fast
        if not (votes[voted] == 1).all():
            raise ValueError("votes must be 0 or 1")
        if voted.size > self.max_words:
            raise ValueError(f"there must be at most {self.max_words} votes, got {voted.size}")
        lanes = np.zeros(self.vector_length, lane_dtype(self.value_bits))
        lanes[voted] = 1
        return lanes

    def decode_sum(self, lanes: LaneArray, num_reports: int) -> npt.NDArray[np.float64]:
        """Service: reads a sum of encoded votes.

        Args:
          lanes: `lane_dtype(value_bits)` [vector_length], the sum modulo 2^value_bits; bits above are ignored.
          num_reports: devices in the sum, 1 to `max_cohort`.

        Returns:
          float64 [vector_length], numbers of devices.

        Guarantees:
          Exact for votes of `encode`. No count is above `num_reports`: whatever a device sent, there are no more of
          them. One device that keeps to `encode` moves the result by at most `l2_bound`, whatever all others sent: a
          number beyond half of 2^b counts down again, so that no one can bring a count to where one vote more would
          make it start anew.

        Raises:
          ValueError: lanes of another type or length, or `num_reports` is out of its bound.

        """
        check_lanes(lanes, self.value_bits)
        if lanes.shape != (self.vector_length,):
            raise ValueError(f"lanes must have {self.vector_length} values, got {lanes.shape}")
        if not 1 <= num_reports <= self.max_cohort:
            raise ValueError(f"num_reports must be 1 to {self.max_cohort}, got {num_reports}")
        counts = (lanes & np.array((1 << self.value_bits) - 1, lanes.dtype)).astype(np.float64)
        return np.minimum(np.minimum(counts, (1 << self.value_bits) - counts), num_reports)
