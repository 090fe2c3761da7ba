"""Masks: pseudorandom vectors that hide an update and cancel in the sum, added straight onto the lanes.

A mask is a ChaCha20 keystream read as little-endian lanes; ChaCha20 rather than AES, for which small machines such as a
Raspberry Pi 4 have no instructions. Its 32-bit block counter lasts for 256 GiB, far beyond any model.
"""

from typing import Literal

import numpy as np

from protocol.keystream import MAX_READ_INTO, Keystream
from protocol.lanes import LaneArray

Sign = Literal[1, -1]

_LABEL = b"keychorus mask v1"
_BLOCK_BYTES = MAX_READ_INTO  # of keystream at a time: it stays in a core's own cache


def add_mask(total: LaneArray, seed: bytes, *, sign: Sign = 1) -> None:
    """Both sides: adds the mask of `seed` to `total` in place, or takes it off with `sign` -1.

    Args:
      total: uint8, uint16 or uint32 [vector_length], of either byte order.
      seed: 32 bytes, uniform and secret: a member's self-mask seed, or what two members agreed on.
      sign: of two members, the one of the smaller index adds and the other takes off.

    Guarantees:
      adding and taking off leaves `total` as it was. Sums are modulo 2^lane, hence exact modulo 2^value_bits, where the
      mask is uniform too. Takes some 200 KB of memory beside `total`, however long that is.

    | total       | result                                     |
    |-------------|--------------------------------------------|
    | zero        | the mask, or its negative                  |
    | empty       | empty                                      |
    | shorter     | the beginning of the same mask             |
    | other lanes | raises: never another mask than was meant  |

    Raises:
      ValueError: a seed that is not 32 bytes, another sign, or lanes of another type or shape.

    Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 2.

    """
    if total.ndim != 1 or total.dtype.kind != "u" or total.itemsize > 4:
        raise ValueError(f"total must be a vector of uint8, uint16 or uint32, got {total.dtype} {total.shape}")
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign}")
    keystream = Keystream(seed, _LABEL)
    add = np.add if sign == 1 else np.subtract
    block = np.empty(_BLOCK_BYTES // total.itemsize, f"<u{total.itemsize}")
    for start in range(0, total.size, block.size):
        lanes = total[start : start + block.size]
        mask = block[: lanes.size]
        keystream.read_into(mask.data.cast("B"))
        add(lanes, mask, out=lanes)
