"""Compressed checkpoints: what a device downloads of a new model version if it still holds an earlier one.

A served checkpoint is a safetensors file of float16 tensors. Its difference to a base, an earlier served checkpoint of
the same tensors, takes 8 bits a weight:

    difference = header | one float32 scale a block | one int8 a weight
    served     = the base's header | float16(base + int8 * scale)

Weights are counted in the order in which the file stores them. The sum is formed in float32, one rounding an operation,
so that service and device come to the same bits; the round's manifest names the result by its SHA-256 all the same.

| here         | what                                                              |
|--------------|-------------------------------------------------------------------|
| header       | magic `KCDF`, version 1, block size, number of weights            |
| scale        | of each block of 256 weights: its largest movement divided by 127 |
| little-endian| all of it                                                         |
"""

import math
import struct
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.errors import MalformedMessage, WrongContent

BLOCK_SIZE = 256
_HEADER = struct.Struct("<4sHHI")  # magic, version, block size, number of weights
_MAGIC = b"KCDF"
_VERSION = 1
_MAX_INT8 = 127
_LEAST_SCALE = np.finfo(np.float32).tiny
_MAX_TENSORS_BYTES = 64 * 1024

HalfArray = npt.NDArray[np.float16]


class _Tensor(msgspec.Struct, frozen=True):
    """A tensor in a safetensors header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Served(NamedTuple):
    """A served checkpoint, cut: its header as it stands, its tensors' names in stored order, its weights."""

    header: bytes
    names: tuple[str, ...]
    values: HalfArray


class Difference(NamedTuple):
    """What `make_difference` gives: the difference's bytes, and the served checkpoint that it leads to."""

    difference: bytes
    served: bytes


def make_difference(weights: dict[str, FloatArray], base: bytes) -> Difference:
    """Service: brings `weights` as near as 8 bits a weight allow, from `base`.

    Args:
      weights: the exact ones, float32 by name, finite.
      base: a served checkpoint of the same tensors.

    Guarantees:
      `apply_difference(base, result.difference) == result.served`. Each weight of the result is within half a scale of
      its block, and half a unit in the last place of float16, of the exact one.

    Raises:
      MalformedMessage: `base` is not a served checkpoint, or of other tensors.
      WrongContent: `weights` move beyond the range of float16.

    """
    served = _cut(base)
    if set(served.names) != set(weights) or served.values.size != sum(value.size for value in weights.values()):
        raise MalformedMessage("a base must be a checkpoint of the same tensors")
    exact = np.concatenate([weights[name].ravel() for name in served.names])
    scales, integers = _quantise(exact - served.values.astype(np.float32))
    header = _HEADER.pack(_MAGIC, _VERSION, BLOCK_SIZE, exact.size)
    moved = _moved(served.values, scales, integers)
    if not np.isfinite(moved).all():
        raise WrongContent("weights must stay within the range of float16, +-65504")
    return Difference(header + scales.tobytes() + integers.tobytes(), served.header + moved.tobytes())


def apply_difference(base: bytes, difference: bytes) -> bytes:
    """Device: the served checkpoint that `difference` leads to from `base`.

    Raises:
      MalformedMessage: `base` is not a served checkpoint; or `difference` is none, is of another version or length, of
        another number of weights, holds a scale that is negative or not finite, or leads beyond float16.

    """
    served = _cut(base)
    scales, integers = _read(difference, served.values.size)
    moved = _moved(served.values, scales, integers)
    if not np.isfinite(moved).all():
        raise MalformedMessage("a difference must stay within the range of float16")
    return served.header + moved.tobytes()


def difference_bytes(num_weights: int) -> int:
    """Bytes of a difference of `num_weights` weights."""
    return _HEADER.size + 4 * _num_blocks(num_weights) + num_weights


def _quantise(movement: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """Scales float32 [num_blocks] and integers int8 [num_weights] whose product is nearest to `movement`."""
    blocks = _blocks(movement)  # [num_blocks, BLOCK_SIZE]
    scales = (np.abs(blocks).max(axis=1) / np.float32(_MAX_INT8)).astype("<f4")
    scales[scales < _LEAST_SCALE] = 0  # a subnormal number may count as zero on a device
    divisors = np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    rounded = np.rint(np.where(scales[:, np.newaxis] > 0, blocks, np.float32(0)) / divisors)
    clipped = np.clip(rounded, -_MAX_INT8, _MAX_INT8)
    return scales, clipped.astype(np.int8).ravel()[: movement.size]


def _moved(base: HalfArray, scales: FloatArray, integers: npt.NDArray[np.int8]) -> HalfArray:
    """float16(base + integers * scales): the arithmetic that both sides share."""
    steps = np.repeat(scales, BLOCK_SIZE)[: integers.size] * integers.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # both callers look for what is not finite
        return (base.astype(np.float32) + steps).astype("<f2")


def _read(difference: bytes, num_weights: int) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    if len(difference) != difference_bytes(num_weights):
        raise MalformedMessage(f"difference must have {difference_bytes(num_weights)} bytes, got {len(difference)}")
    header = _HEADER.unpack_from(difference)
    if header != (_MAGIC, _VERSION, BLOCK_SIZE, num_weights):
        raise MalformedMessage(f"difference must be of version 1, blocks of {BLOCK_SIZE} and {num_weights} weights")
    scales = np.frombuffer(difference, "<f4", _num_blocks(num_weights), _HEADER.size)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise MalformedMessage("a difference's scales must be finite and >= 0")
    return scales, np.frombuffer(difference, np.int8, offset=_HEADER.size + scales.nbytes)


def _cut(served: bytes) -> _Served:
    """Cuts a safetensors file of float16 tensors whose data leave no gap."""
    length = int.from_bytes(served[:8], "little")
    if not 2 <= length <= min(_MAX_TENSORS_BYTES, len(served) - 8):
        raise MalformedMessage("a base must be a safetensors file")
    try:
        tensors = msgspec.json.decode(served[8 : 8 + length], type=dict[str, _Tensor])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedMessage("a base must be a safetensors file of tensors alone") from None
    end = 0
    names = tuple(sorted(tensors, key=lambda name: tensors[name].data_offsets))
    for name in names:
        tensor = tensors[name]
        if tensor.dtype != "F16" or tensor.data_offsets != (end, end + 2 * math.prod(tensor.shape)):
            raise MalformedMessage("a base must hold float16 tensors without gaps")
        end = tensor.data_offsets[1]
    if len(served) != 8 + length + end:
        raise MalformedMessage("a base must be as long as its tensors")
    return _Served(served[: 8 + length], names, np.frombuffer(served, "<f2", offset=8 + length))


def _blocks(vector: FloatArray) -> FloatArray:
    padded = np.zeros(_num_blocks(vector.size) * BLOCK_SIZE, np.float32)
    padded[: vector.size] = vector
    return padded.reshape(-1, BLOCK_SIZE)


def _num_blocks(num_weights: int) -> int:
    return -(-num_weights // BLOCK_SIZE)
