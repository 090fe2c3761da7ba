"""What one neighbour keeps of another's secrets, sealed so that the service that carries it cannot read it."""

import struct
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.secure_aggregation.errors import BadSeal
from protocol.secure_aggregation.keys import KEY_BYTES, SESSION_ID_BYTES
from protocol.secure_aggregation.shamir import SHARE_BYTES

_DOMAIN = b"keychorus/secure-aggregation/neighbour-shares/v1\n"
_DIRECTION = struct.Struct("<II")  # sender, receiver
_NONCE_BYTES = 12
_TAG_BYTES = 16

SEALED_BYTES = _NONCE_BYTES + 2 * SHARE_BYTES + _TAG_BYTES
"""Nonce, the encrypted shares and the tag: 94."""


class NeighbourShares(NamedTuple):
    """Shares (33 bytes each) of a member's two secrets. Whoever keeps them reveals one of the two, never both.

    Attributes:
      self_mask_seed: for the service if the member's masked input arrived.
      mask_private_key: for the service if it did not.

    """

    self_mask_seed: bytes
    mask_private_key: bytes

    def __repr__(self) -> str:
        """Neither share, so that no log holds one."""
        return "NeighbourShares(...)"


def seal(
    shares: NeighbourShares,
    key: bytes,
    *,
    session_id: bytes,
    sender: int,
    receiver: int,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """Device: `shares` for one neighbour, as 94 bytes that only this neighbour can open.

    Args:
      shares: of the sender's secrets.
      key: 32 bytes, what the two agreed on with `Purpose.SEALING`.
      session_id: 32 bytes.
      sender: index of the member whose secrets they are, 0 to 2^32 - 1.
      receiver: index of the neighbour.
      random_bytes: such as `secrets.token_bytes`; asked for a nonce of 12, as both directions have one key.

    Raises:
      ValueError: a share, key, session id, index or nonce out of its bounds.

    Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 1.

    """
    for name, share in zip(shares._fields, shares, strict=True):
        _require_bytes(name, share, SHARE_BYTES)
    nonce = random_bytes(_NONCE_BYTES)
    _require_bytes("nonce", nonce, _NONCE_BYTES)
    context = _context(session_id, sender, receiver)
    return nonce + _cipher(key).encrypt(nonce, b"".join(shares), context)


def open_sealed(sealed: bytes, key: bytes, *, session_id: bytes, sender: int, receiver: int) -> NeighbourShares:
    """Device: opens what a neighbour sealed for it.

    Args:
      sealed: 94 bytes, hostile until opened.
      key: as the neighbour's.
      session_id: 32 bytes, of the session that runs.
      sender: index of the member who is said to have sealed it.
      receiver: this device's own index.

    Guarantees:
      the shares are as the sender gave them, for this receiver in this session. Whether they are shares of the sender's
      secrets shows only when those are put together.

    Raises:
      BadSeal: truncated, changed, or sealed by another sender, for another receiver or in another session.
      ValueError: a key, session id or index out of its bounds.

    """
    context = _context(session_id, sender, receiver)
    cipher = _cipher(key)
    if len(sealed) != SEALED_BYTES:
        raise BadSeal(f"sealed shares must be {SEALED_BYTES} bytes, got {len(sealed)}")
    try:
        opened = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except InvalidTag:
        raise BadSeal(f"sealed shares must be those of member {sender} for member {receiver}, unchanged") from None
    return NeighbourShares(opened[:SHARE_BYTES], opened[SHARE_BYTES:])


def _cipher(key: bytes) -> AESGCM:
    _require_bytes("key", key, KEY_BYTES)
    return AESGCM(key)


def _context(session_id: bytes, sender: int, receiver: int) -> bytes:
    """What the tag vouches for beside the shares; each part has a fixed length."""
    _require_bytes("session_id", session_id, SESSION_ID_BYTES)
    if not (0 <= sender < 2**32 and 0 <= receiver < 2**32 and sender != receiver):
        raise ValueError(f"sender and receiver must be two indices from 0 to 2^32 - 1, got {sender} and {receiver}")
    return _DOMAIN + session_id + _DIRECTION.pack(sender, receiver)


def _require_bytes(name: str, value: bytes, num_bytes: int) -> None:
    if len(value) != num_bytes:
        raise ValueError(f"{name} must be {num_bytes} bytes, got {len(value)}")
