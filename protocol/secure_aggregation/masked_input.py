"""Stage 2's message: a masked input as header and packed integers, the only large message of a session.

The header ends with a digest over all else: a flipped bit would give a wrong sum, and nothing else would show it.
"""

import hashlib
import struct

from protocol.errors import MalformedMessage
from protocol.lanes import LaneArray
from protocol.secure_aggregation.messages import GroupParameters, require_session
from protocol.secure_aggregation.packing import pack, packed_bytes, unpack

MASKED_INPUT_MEDIA_TYPE = "application/vnd.keychorus.masked-input"

_HEADER = struct.Struct("<4sHHII32s")  # magic, version, value_bits, vector_length, sender, session id
_MAGIC = b"KCMI"
_VERSION = 1
_DIGEST_BYTES = 32
_PREFIX_BYTES = _HEADER.size + _DIGEST_BYTES


def masked_input_bytes(parameters: GroupParameters) -> int:
    """Bytes of one masked input of such a group."""
    return _PREFIX_BYTES + packed_bytes(parameters.vector_length, parameters.value_bits)


def encode_masked_input(masked: LaneArray, parameters: GroupParameters, session_id: bytes, sender: int) -> bytes:
    """Device: its masked input as bytes.

    Args:
      masked: lanes [vector_length]; what is above `value_bits` bits is cut off.
      parameters: of the group.
      session_id: 32 bytes.
      sender: its own index.

    """
    header = _HEADER.pack(_MAGIC, _VERSION, parameters.value_bits, parameters.vector_length, sender, session_id)
    packed = pack(masked, parameters.value_bits)
    return b"".join((header, _digest(header, packed), packed))


def read_masked_input(payload: bytes, parameters: GroupParameters, session_id: bytes, sender: int) -> LaneArray:
    """Service: the masked lanes [vector_length] of `sender`, possibly a read-only view of `payload`.

    Raises:
      MalformedMessage: truncated, too long, changed, of another member, version, length or number of bits.
      WrongSession: of another round, task or group.

    """
    expected = masked_input_bytes(parameters)
    if len(payload) != expected:
        raise MalformedMessage(f"masked input must have {expected} bytes, got {len(payload)}")
    magic, version, value_bits, vector_length, index, session = _HEADER.unpack_from(payload)
    form = (_MAGIC, _VERSION, parameters.value_bits, parameters.vector_length)
    if (magic, version, value_bits, vector_length) != form:
        raise MalformedMessage("masked input must be of version 1 and of the group's value_bits and vector_length")
    require_session(session_id, session)
    if index != sender:
        raise MalformedMessage(f"sender of a masked input must be {sender}, got {index}")
    packed = memoryview(payload)[_PREFIX_BYTES:]
    if _digest(payload[: _HEADER.size], packed) != payload[_HEADER.size : _PREFIX_BYTES]:
        raise MalformedMessage("masked input must have the digest that it says")
    return unpack(packed, parameters.vector_length, parameters.value_bits)


def _digest(header: bytes, packed: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(header)
    digest.update(packed)
    return digest.digest()
