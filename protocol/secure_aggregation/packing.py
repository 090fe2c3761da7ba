"""Packing: lanes as bytes without a wasted bit.

Value i takes the bits [i b, (i + 1) b) of the payload, counted from the lowest bit of its first byte: a payload is the
number sum(value_i 2^(i b)), little-endian. Any multiple of eight values ends with a whole byte, so a vector can be
packed and unpacked in pieces.
"""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from protocol.errors import MalformedMessage
from protocol.lanes import LaneArray, check_lanes, lane_dtype

_CHUNK_LENGTH = 1 << 15  # values at a time, a multiple of eight: they stay in the processor's cache


def packed_bytes(length: int, value_bits: int) -> int:
    """Bytes of `length` values of `value_bits` bits."""
    return (length * value_bits + 7) // 8


def pack(lanes: LaneArray, value_bits: int) -> bytes:
    """Device: writes lanes as `packed_bytes(len(lanes), value_bits)` bytes.

    Args:
      lanes: [vector_length], of `lane_dtype(value_bits)`; bits above `value_bits` are not written.
      value_bits: b, 8 to 32.

    Raises:
      ValueError: lanes of another type, or not 8 to 32 bits.

    """
    check_lanes(lanes, value_bits)
    if value_bits == 8 * lanes.itemsize:
        return lanes.tobytes()
    chunks = (lanes[start : start + _CHUNK_LENGTH] for start in range(0, lanes.size, _CHUNK_LENGTH))
    return b"".join(_pack_chunk(chunk, value_bits) for chunk in chunks)


def unpack(payload: bytes | memoryview, length: int, value_bits: int) -> LaneArray:
    """Service: reads exactly `length` values of `value_bits` bits.

    Args:
      payload: hostile until read; `packed_bytes(length, value_bits)` bytes.
      length: number of values.
      value_bits: b, 8 to 32.

    Returns:
      `lane_dtype(value_bits)` [length], each < 2^value_bits. At 8, 16 and 32 bits a read-only view of `payload`.

    Raises:
      MalformedMessage: truncated, too long, or the bits that fill the last byte are not zero.
      ValueError: not 8 to 32 bits.

    """
    dtype = lane_dtype(value_bits)
    expected = packed_bytes(length, value_bits)
    if len(payload) != expected:
        raise MalformedMessage(f"{length} values of {value_bits} bits must have {expected} bytes, got {len(payload)}")
    if value_bits == 8 * dtype.itemsize:
        view: LaneArray = np.frombuffer(payload, dtype)
        return view
    used_bits = length * value_bits % 8
    if used_bits and payload[-1] >> used_bits:
        raise MalformedMessage("the bits that fill the last byte of packed values must be zero")
    lanes: LaneArray = np.empty(length, dtype)
    octets = np.frombuffer(payload, np.uint8)
    chunk_bytes = packed_bytes(_CHUNK_LENGTH, value_bits)
    for index in range(-(-length // _CHUNK_LENGTH)):
        target = lanes[index * _CHUNK_LENGTH : (index + 1) * _CHUNK_LENGTH]
        _unpack_chunk(octets[index * chunk_bytes : (index + 1) * chunk_bytes], target, value_bits)
    return lanes


def _pack_chunk(chunk: LaneArray, value_bits: int) -> bytes:
    values_per_group, octets_per_group = _group(value_bits)
    num_groups = -(-chunk.size // values_per_group)
    values = np.zeros((num_groups, values_per_group), chunk.dtype)
    values.reshape(-1)[: chunk.size] = chunk
    values &= chunk.dtype.type((1 << value_bits) - 1)
    octets = np.zeros((num_groups, octets_per_group), np.uint8)
    for value, octet, shift in _overlaps(value_bits):
        octets[:, octet] |= _shifted(values[:, value], shift).astype(np.uint8)
    return octets.reshape(-1)[: packed_bytes(chunk.size, value_bits)].tobytes()


def _unpack_chunk(payload: npt.NDArray[np.uint8], target: LaneArray, value_bits: int) -> None:
    values_per_group, octets_per_group = _group(value_bits)
    num_groups = -(-target.size // values_per_group)
    octets = np.zeros((num_groups, octets_per_group), target.dtype)
    octets.reshape(-1)[: payload.size] = payload
    values = np.zeros((num_groups, values_per_group), target.dtype)
    for value, octet, shift in _overlaps(value_bits):
        values[:, value] |= _shifted(octets[:, octet], -shift)
    values &= target.dtype.type((1 << value_bits) - 1)
    target[:] = values.reshape(-1)[: target.size]


def _group(value_bits: int) -> tuple[int, int]:
    """The fewest values that fill whole bytes, and how many bytes they fill."""
    values_per_group = 8 // math.gcd(value_bits, 8)
    return values_per_group, values_per_group * value_bits // 8


@cache
def _overlaps(value_bits: int) -> tuple[tuple[int, int, int], ...]:
    """Which value of a group has bits in which byte of it, and by how many bits it is shifted to the left there."""
    values_per_group, octets_per_group = _group(value_bits)
    shifts = (
        (value, octet, value * value_bits - 8 * octet)
        for value in range(values_per_group)
        for octet in range(octets_per_group)
    )
    return tuple((value, octet, shift) for value, octet, shift in shifts if -value_bits < shift < 8)


def _shifted(values: LaneArray, left: int) -> LaneArray:
    """`values` shifted to the left, or by a negative number to the right; what leaves the lane is lost."""
    shifted: LaneArray = np.left_shift(values, left) if left >= 0 else np.right_shift(values, -left)
    return shifted
