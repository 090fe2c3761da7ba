"""The update codec: a clipped weight change as bytes.

Today's format is plain float32. The header names the format, so that smaller ones can join it.
"""

import struct

import numpy as np

from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.weights import FloatArray

_HEADER = struct.Struct("<4sHHI")  # magic, version, format, number of weights
_MAGIC = b"KCUP"
_VERSION = 1
_FORMAT_FLOAT32 = 0

UPDATE_MEDIA_TYPE = "application/vnd.keychorus.update"


def encode_update(update: FloatArray) -> bytes:
    """Device: writes float32 [num_weights] as header and little-endian values.

    Raises:
      NonFiniteUpdate: `update` holds NaN or infinity.

    """
    if not np.isfinite(update).all():
        raise NonFiniteUpdate("an update must be finite")
    header = _HEADER.pack(_MAGIC, _VERSION, _FORMAT_FLOAT32, update.size)
    return header + update.astype("<f4", copy=False).tobytes()


def encoded_bytes(num_weights: int) -> int:
    """Bytes of an encoded update of `num_weights` weights."""
    return _HEADER.size + 4 * num_weights


def decode_update(payload: bytes, num_weights: int) -> FloatArray:
    """Service: reads an update of exactly `num_weights` weights; the result is a read-only view of `payload`.

    Raises:
      MalformedMessage: truncated, too long, of another format, version or number of weights.
      NonFiniteUpdate: the values hold NaN or infinity.

    """
    if len(payload) != encoded_bytes(num_weights):
        raise MalformedMessage(f"update must have {encoded_bytes(num_weights)} bytes, got {len(payload)}")
    magic, version, value_format, declared = _HEADER.unpack_from(payload)
    if (magic, version, value_format) != (_MAGIC, _VERSION, _FORMAT_FLOAT32):
        raise MalformedMessage("update must be of format float32, version 1")
    if declared != num_weights:
        raise MalformedMessage(f"update must declare {num_weights} weights, got {declared}")
    update = np.frombuffer(payload, dtype="<f4", offset=_HEADER.size)
    if not np.isfinite(update).all():
        raise NonFiniteUpdate("an update must be finite")
    return update
