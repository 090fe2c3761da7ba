"""Quantisation: an update as integers modulo 2^b whose sum cannot overflow and whose norm has an exact bound.

The device clips, rotates, scales, bounds each value and rounds at random; the service adds up integers, scales the sum
back and turns it back. docs/update-codec.md derives the formulas and says what they cost.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm, l2_norm
from protocol.keystream import SEED_BYTES, Keystream
from protocol.lanes import LaneArray, lane_dtype, signed_values
from protocol.rotation import block_size, rotate, unrotate

RandomBytes = Callable[[int], bytes]
"""Gives that many bytes from a cryptographic source, as `secrets.token_bytes` does."""

_LABEL = b"keychorus rounding v1"
_TAIL = 4.0  # largest value in standard deviations of a rotated coordinate, of the most that one can have: C / sqrt(B)
_FINEST = 1 << 20  # values beyond: float32 knows no finer steps, and squares of a chunk still add up in int64
_CHUNK_LENGTH = 1 << 14  # coordinates at a time: their float64 stay in the processor's cache
_DRAW_BITS = 16  # of randomness for each coordinate


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """What the devices of a group and the service agree on, to add up integers in place of updates.

    Attributes:
      l2_clip_norm: C > 0, in units of weight change.
      value_bits: b, 8 to 32: sums are taken modulo 2^b.
      max_cohort: largest number of updates that are added modulo 2^b, which is that of the largest group.
      vector_length: d >= 1, the number of weights.
      noise_room: integers on either side of the sum's range that are left to noise; 0 if devices add none.

    Raises:
      ValueError: one of these is out of its bound, or b bits are too few for that cohort.

    """

    l2_clip_norm: float
    value_bits: int
    max_cohort: int
    vector_length: int
    noise_room: int = 0

    def __post_init__(self) -> None:
        lane_dtype(self.value_bits)
        if not (self.l2_clip_norm > 0 and math.isfinite(self.l2_clip_norm)):
            raise ValueError(f"l2_clip_norm must be a finite number > 0, got {self.l2_clip_norm}")
        for name, least in (("max_cohort", 1), ("vector_length", 1), ("noise_room", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if self.largest_value < 1:
            raise ValueError(
                f"value_bits must leave {self.max_cohort} updates and noise of {self.noise_room} room, "
                f"got {self.value_bits}"
            )
        if not self.l2_clip_norm <= self.l2_bound < math.inf:  # lost in float64: a bound below what it bounds
            raise ValueError(f"l2_clip_norm must be within what float64 can scale, got {self.l2_clip_norm}")

    @property
    def largest_value(self) -> int:
        """L: each integer of an encoded update is within +-L; max_cohort * L + noise_room < 2^(b - 1)."""
        room = (1 << (self.value_bits - 1)) - 1 - self.noise_room
        return min(room // self.max_cohort, _FINEST)

    @property
    def scaled_clip_norm(self) -> float:
        """C s, the norm of the longest scaled update: L is then four times what C / sqrt(B) is scaled to."""
        return self.largest_value * math.sqrt(block_size(self.vector_length)) / _TAIL

    @property
    def scale(self) -> float:
        """s: integers per unit of weight change."""
        return self.scaled_clip_norm / self.l2_clip_norm

    @property
    def squared_bound(self) -> int:
        """K: the squares of an encoded update's integers add up to at most K. Exact.

        The least of what any rounding can reach, what a rounding reaches with probability >= 1 - exp(-1/2), and what
        values within +-L can reach.

        Source: Kairouz et al. 2021, arXiv 2102.06387, theorem 1 with beta = exp(-1/2) and gamma = 1.
        """
        norm, length = self.scaled_clip_norm, self.vector_length
        any_rounding = (norm + math.sqrt(length)) ** 2
        likely_rounding = norm**2 + length / 4 + norm + math.sqrt(length) / 2
        return min(math.floor(min(any_rounding, likely_rounding)), length * self.largest_value**2)

    @property
    def l2_bound(self) -> float:
        """sqrt(K) / s: how far one update moves the sum in L2 norm at most, in units of weight change.

        This is the sensitivity of the sum to adding or leaving out one device, which accounting is to use in place of
        C. It bounds integers divided by s; only turning the sum back adds float64 rounding.
        """
        return math.sqrt(self.squared_bound) / self.scale * (1 + 2.0**-50)  # the rounding of these three operations

    def encode(self, update: FloatArray, rotation_seed: bytes, random_bytes: RandomBytes) -> LaneArray:
        """Device: clips, rotates, scales, bounds and rounds an update.

        Args:
          update: float32 [vector_length].
          rotation_seed: 32 bytes, the round's, public.
          random_bytes: asked once, for 32 bytes that nobody else may learn.

        Returns:
          `lane_dtype(value_bits)` [vector_length]: integers v in two's complement.

        Guarantees:
          |v_i| <= largest_value and sum(v_i^2) <= squared_bound, exactly, for every update, seed and randomness.
          Apart from values that were bounded and roundings that were drawn anew, the expectation of v over the
          rounding is s times the clipped and rotated update, within 2^-17 for each coordinate.

        | update                | result                                        |
        |-----------------------|-----------------------------------------------|
        | zero                  | zero                                          |
        | longer than C         | as if clipped to C                            |
        | NaN or inf            | raises                                        |

        Raises:
          NonFiniteUpdate: a diverged training run must never reach the sum.
          ValueError: an update of another length, a seed or randomness that is not 32 bytes.

        Source: Kairouz et al. 2021, arXiv 2102.06387, algorithm 1: rounding is repeated until the bound holds, of
        which 1 / (1 - exp(-1/2)) = 2.6 roundings on average are the worst case, and one is what to expect.

        """
        if update.shape != (self.vector_length,):
            raise ValueError(f"update must have {self.vector_length} weights, got {update.shape}")
        rotated = rotate(clip_to_norm(update, self.l2_clip_norm).update, rotation_seed)
        # float32 may have made the rotated update longer than C by its last bits, and C is what the bound builds on.
        scale = self.scaled_clip_norm / max(self.l2_clip_norm, l2_norm(rotated))
        draws = Keystream(random_bytes(SEED_BYTES), _LABEL)
        while True:
            lanes, sum_of_squares = self._round(rotated, scale, draws)
            if sum_of_squares <= self.squared_bound:
                return lanes

    def decode_sum(self, lanes: LaneArray, rotation_seed: bytes) -> npt.NDArray[np.float64]:
        """Service: reads a sum of encoded updates.

        Args:
          lanes: `lane_dtype(value_bits)` [vector_length], the sum modulo 2^value_bits of at most max_cohort encoded
            updates; bits above are ignored.
          rotation_seed: 32 bytes, the round's.

        Returns:
          float64 [vector_length], in units of weight change.

        Guarantees:
          Its L2 norm is at most l2_bound times the number of updates, but for float64 rounding: a sum beyond that
          holds an update that no honest device sent.

        Raises:
          ValueError: lanes of another type or length, or a seed that is not 32 bytes.

        """
        if lanes.shape != (self.vector_length,):
            raise ValueError(f"lanes must have {self.vector_length} values, got {lanes.shape}")
        rotated = np.divide(signed_values(lanes, self.value_bits), self.scale, dtype=np.float64)
        return unrotate(rotated, rotation_seed)

    def _round(self, rotated: FloatArray, scale: float, draws: Keystream) -> tuple[LaneArray, int]:
        """One stochastic rounding of `scale * rotated`, bounded to +-L, as lanes; and the exact sum of its squares."""
        lanes = np.empty(rotated.size, lane_dtype(self.value_bits))
        signed = lanes.view(lanes.dtype.str.replace("u", "i"))
        sum_of_squares = 0
        for start in range(0, rotated.size, _CHUNK_LENGTH):
            scaled = np.multiply(rotated[start : start + _CHUNK_LENGTH], scale, dtype=np.float64)
            values = _round_stochastically(scaled.clip(-self.largest_value, self.largest_value), draws)
            signed[start : start + _CHUNK_LENGTH] = values
            sum_of_squares += int(np.dot(values, values))
        return lanes, sum_of_squares


def _round_stochastically(values: npt.NDArray[np.float64], draws: Keystream) -> npt.NDArray[np.int64]:
    """Rounds up with the probability of the fraction, else down; whole numbers stay.

    A draw u is the middle of one of 2^16 equal parts of [0, 1), so floor(x + u) is off by at most 2^-17 on average.
    """
    drawn = np.frombuffer(draws.read(values.size * _DRAW_BITS // 8), "<u2")
    uniform = (drawn + 0.5) * 2.0**-_DRAW_BITS
    return np.floor(values + uniform).astype(np.int64)
