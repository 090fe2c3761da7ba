"""Lanes: integers modulo 2^value_bits, each in the smallest of 8, 16 or 32 bits that holds it.

Updates, masks and their sums are vectors of lanes. A lane may be wider than its value: arithmetic modulo 2^lane is
exact modulo 2^value_bits, so nobody cuts before the end, and whoever packs or decodes ignores the bits above.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

LaneArray = npt.NDArray[np.unsignedinteger[Any]]
"""uint8, uint16 or uint32, little-endian: what `lane_dtype` says."""
LaneType = np.dtype[np.unsignedinteger[Any]]
SignedArray = npt.NDArray[np.signedinteger[Any]]

MIN_VALUE_BITS = 8
MAX_VALUE_BITS = 32


def lane_dtype(value_bits: int) -> LaneType:
    """The smallest of uint8, uint16 and uint32 that holds `value_bits` bits, little-endian, as lanes are on the wire.

    Raises:
      ValueError: not 8 to 32 bits.

    """
    if not MIN_VALUE_BITS <= value_bits <= MAX_VALUE_BITS:
        raise ValueError(f"value_bits must be {MIN_VALUE_BITS} to {MAX_VALUE_BITS}, got {value_bits}")
    if value_bits == MIN_VALUE_BITS:
        return np.dtype("<u1")
    return np.dtype("<u2") if value_bits <= 16 else np.dtype("<u4")


def signed_values(lanes: LaneArray, value_bits: int) -> SignedArray:
    """Service: reads lanes as the integers of -2^(value_bits - 1) to 2^(value_bits - 1) - 1 that they stand for.

    Args:
      lanes: [vector_length], of `lane_dtype(value_bits)`; bits above `value_bits` are ignored.
      value_bits: b.

    Returns:
      int8, int16 or int32 [vector_length], a new array.

    Raises:
      ValueError: lanes of another type, or not 8 to 32 bits.

    """
    check_lanes(lanes, value_bits)
    above = 8 * lanes.itemsize - value_bits
    values: SignedArray = (lanes << above).view(lanes.dtype.str.replace("u", "i"))
    values >>= above  # the arithmetic shift copies the sign into the bits above
    return values


def check_lanes(lanes: LaneArray, value_bits: int) -> None:
    """Checks that `lanes` are a vector of `lane_dtype(value_bits)`.

    Raises:
      ValueError: they are not, or not 8 to 32 bits.

    """
    expected = lane_dtype(value_bits)
    if lanes.dtype != expected or lanes.ndim != 1:
        raise ValueError(f"lanes of {value_bits} bits must be a vector of {expected}, got {lanes.dtype} {lanes.shape}")
