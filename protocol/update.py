"""The update codec: a clipped weight change as bytes.

The plan says which format its round takes: `float32`, or `int16`, which is half as long and whose rounding, at most
half of 1/32767 of the update's largest weight change, is far below any noise that a round adds.
"""

import math
import struct
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.errors import MalformedMessage, NonFiniteUpdate

UpdateFormat = Literal["float32", "int16"]
WireValues = npt.NDArray[np.float32] | npt.NDArray[np.int16]

_HEADER = struct.Struct("<4sHHI")  # magic, version, format, number of weights
_SCALE = struct.Struct("<f")  # after the header of an int16 update: what its integers are multiplied with
_MAGIC = b"KCUP"
_VERSION = 1
_NUMBERS: dict[UpdateFormat, int] = {"float32": 0, "int16": 1}
_MAX_INT16 = 32767
_LEAST_SCALE = float(np.finfo(np.float32).tiny)

UPDATE_MEDIA_TYPE = "application/vnd.keychorus.update"


class ScaledUpdate(NamedTuple):
    """An update as it came: `scale * values`, without a copy of the values.

    Attributes:
      values: float32 or int16 [num_weights], a read-only view of what was received.
      scale: >= 0, finite; 1.0 for float32.

    """

    values: WireValues
    scale: float


def encode_update(update: FloatArray, value_format: UpdateFormat = "float32") -> bytes:
    """Device: writes float32 [num_weights] as header and little-endian values.

    Guarantees:
      What is read again is never longer than `update` in L2 norm (but for the last bits of float64), so an update
      that the device clipped is not clipped again for its rounding.

    Raises:
      NonFiniteUpdate: `update` holds NaN or infinity.

    """
    if not np.isfinite(update).all():
        raise NonFiniteUpdate("an update must be finite")
    header = _HEADER.pack(_MAGIC, _VERSION, _NUMBERS[value_format], update.size)
    if value_format == "float32":
        return header + update.astype("<f4", copy=False).tobytes()
    values, scale = _quantise(update)
    return header + _SCALE.pack(scale) + values.tobytes()


def encoded_bytes(num_weights: int, value_format: UpdateFormat = "float32") -> int:
    """Bytes of an encoded update of `num_weights` weights."""
    if value_format == "float32":
        return _HEADER.size + 4 * num_weights
    return _HEADER.size + _SCALE.size + 2 * num_weights


def read_update(payload: bytes, num_weights: int, value_format: UpdateFormat = "float32") -> ScaledUpdate:
    """Service: reads an update of exactly `num_weights` weights in exactly this format, without copying it.

    float32 values may still be NaN or infinite: whoever computes their norm next finds out at no cost.

    Raises:
      MalformedMessage: truncated, too long, of another format, version or number of weights.
      NonFiniteUpdate: the scale of an int16 update is NaN, infinite or negative.

    """
    expected = encoded_bytes(num_weights, value_format)
    if len(payload) != expected:
        raise MalformedMessage(f"update must have {expected} bytes, got {len(payload)}")
    magic, version, number, declared = _HEADER.unpack_from(payload)
    if (magic, version, number) != (_MAGIC, _VERSION, _NUMBERS[value_format]):
        raise MalformedMessage(f"update must be of format {value_format}, version 1")
    if declared != num_weights:
        raise MalformedMessage(f"update must declare {num_weights} weights, got {declared}")
    if value_format == "float32":
        return ScaledUpdate(np.frombuffer(payload, dtype="<f4", offset=_HEADER.size), 1.0)
    (scale,) = _SCALE.unpack_from(payload, _HEADER.size)
    if not (scale >= 0 and math.isfinite(scale)):
        raise NonFiniteUpdate("an update's scale must be a finite number >= 0")
    return ScaledUpdate(np.frombuffer(payload, dtype="<i2", offset=_HEADER.size + _SCALE.size), scale)


def decode_update(payload: bytes, num_weights: int, value_format: UpdateFormat = "float32") -> FloatArray:
    """Reads an update as float32 [num_weights]; a read-only view of `payload` if that is its format.

    Raises:
      MalformedMessage: as `read_update`.
      NonFiniteUpdate: the values hold NaN or infinity, or would as float32.

    """
    values, scale = read_update(payload, num_weights, value_format)
    with np.errstate(over="ignore"):
        update = values if values.dtype == np.float32 else (values * np.float64(scale)).astype(np.float32)
    if not np.isfinite(update).all():
        raise NonFiniteUpdate("an update must be finite")
    return update.view(np.float32)


def _quantise(update: FloatArray) -> tuple[npt.NDArray[np.int16], float]:
    """Rounds `update` to int16 multiples of a float32 scale; an update too small for one becomes zero."""
    largest = float(np.abs(update).max(initial=0.0))
    if largest / _MAX_INT16 < _LEAST_SCALE:
        return np.zeros(update.size, np.dtype("<i2")), 0.0
    exact = update.astype(np.float64)
    values = np.rint(exact * (_MAX_INT16 / largest))
    scale = min(largest / _MAX_INT16, math.sqrt(np.dot(exact, exact) / np.dot(values, values)))
    rounded = np.float32(scale)
    if rounded > scale:
        rounded = np.nextafter(rounded, np.float32(0))
    return values.astype("<i2"), float(rounded)
