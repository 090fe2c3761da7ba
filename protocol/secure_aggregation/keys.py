"""X25519 key pairs that live for one session, and the secrets that two members agree on.

A member has two pairs: one whose secrets seed masks, whose private key its neighbours can give back to the service, and
one whose secrets seal shares, whose private key nobody else ever sees.
"""

from enum import Enum
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.secure_aggregation.errors import BadPoint

KEY_BYTES = 32
SESSION_ID_BYTES = 32

_FIELD_PRIME = 2**255 - 19
_ANY_PRIVATE_KEY = X25519PrivateKey.from_private_bytes(bytes(32))  # clamped to 2^254; for checks, never for secrets


class Purpose(Enum):
    """What an agreed secret is for: secrets of different purposes have nothing to do with each other."""

    MASK = b"keychorus/secure-aggregation/pairwise-mask/v1\n"
    SEALING = b"keychorus/secure-aggregation/sealed-shares/v1\n"


class KeyPair(NamedTuple):
    """An X25519 private key (32 bytes, secret) and the public key (32 bytes) that belongs to it."""

    private: bytes
    public: bytes

    def __repr__(self) -> str:
        """Only the public half, so that no log holds the other."""
        return f"KeyPair(public={self.public.hex()})"


def key_pair(private: bytes) -> KeyPair:
    """Both sides: the pair of a private key, 32 bytes, fresh and random or what a dropped member's shares gave back.

    Raises:
      ValueError: `private` is not 32 bytes.

    """
    if len(private) != KEY_BYTES:
        raise ValueError(f"private key must be {KEY_BYTES} bytes, got {len(private)}")
    return KeyPair(private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def require_point(public: bytes) -> None:
    """Both sides: refuses a public key with which no secret can be agreed on, before it reaches other members.

    Guarantees:
      two different keys that pass are two different points, and no secret agreed with one of them is known to all.

    Raises:
      BadPoint: not 32 bytes, not the canonical form of its point, or of low order.

    Source: RFC 7748, sections 5 and 6.1.

    """
    _exchange(_ANY_PRIVATE_KEY, public)


def agree(own: KeyPair, peer_public: bytes, purpose: Purpose, session_id: bytes) -> bytes:
    """Both sides: the 32-byte secret of two members. Either of them gets the same, as does who holds a private key.

    Args:
      own: the pair of one of the two.
      peer_public: the public key of the other, 32 bytes.
      purpose: a mask's seed, or the key of sealed shares.
      session_id: 32 bytes, the SHA-256 of what names the session.

    Guarantees:
      another purpose, session or pair of public keys gives an unrelated secret.

    Raises:
      BadPoint: as `require_point`.
      ValueError: a private key or session id that is not 32 bytes.

    Source: Bonawitz et al. 2017, arXiv 1611.04482, section 4 (KA.agree); RFC 7748, section 6.1.

    """
    if len(own.private) != KEY_BYTES:
        raise ValueError(f"private key must be {KEY_BYTES} bytes, got {len(own.private)}")
    if len(session_id) != SESSION_ID_BYTES:
        raise ValueError(f"session_id must be {SESSION_ID_BYTES} bytes, got {len(session_id)}")
    shared = _exchange(X25519PrivateKey.from_private_bytes(own.private), peer_public)
    smaller, larger = sorted((own.public, peer_public))  # the same order on both sides
    context = purpose.value + session_id + smaller + larger
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=context).derive(shared)


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    if len(public) != KEY_BYTES:
        raise BadPoint(f"public key must be {KEY_BYTES} bytes, got {len(public)}")
    if int.from_bytes(public, "little") >= _FIELD_PRIME:
        raise BadPoint("public key must be the canonical form of its point: less than 2^255 - 19")
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # the all-zero result of a point of low order
        raise BadPoint("public key must not be a point of low order") from None
