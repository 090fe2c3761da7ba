"""What the members of a session sign, and what they commit themselves to."""

import hashlib
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.messages import Identifier, PopulationName
from protocol.secure_aggregation.errors import WrongBundle

DIGEST_BYTES = 32
SIGNATURE_BYTES = 64

Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

_BUNDLE_DOMAIN = b"keychorus/secure-aggregation/key-bundle/v1\n"
_SELF_MASK_DOMAIN = b"keychorus/secure-aggregation/self-mask-digest/v1\n"
_SURVIVORS_DOMAIN = b"keychorus/secure-aggregation/survivors/v1\n"


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session is for: all that its members sign is bound to it.

    Attributes:
      population: its name.
      round_id: 32 hexadecimal digits.
      plan_sha256: 32 bytes, of the signed plan as the device got it.

    """

    population: PopulationName
    round_id: Identifier
    plan_sha256: Digest

    def context(self) -> bytes:
        """80 bytes that no other task has; each part has a fixed length."""
        return hashlib.sha256(self.population.encode()).digest() + bytes.fromhex(self.round_id) + self.plan_sha256


def self_mask_digest(seed: bytes) -> bytes:
    """Both sides: what a member tells of its self-mask's seed beforehand; 32 random bytes cannot be guessed from it."""
    return hashlib.sha256(_SELF_MASK_DOMAIN + seed).digest()


def sign_keys(identity: Ed25519PrivateKey, task: Task, keys: bytes) -> bytes:
    """Device: its signature over the keys and digest of its bundle, 96 bytes, for this task."""
    return identity.sign(_BUNDLE_DOMAIN + task.context() + keys)


def verify_keys(signature: bytes, identity_key: bytes, task: Task, keys: bytes) -> None:
    """Both sides: checks that the owner of `identity_key` signed these keys for this task.

    Raises:
      WrongBundle: it did not.

    """
    if not _is_signed(signature, identity_key, _BUNDLE_DOMAIN + task.context() + keys):
        raise WrongBundle("a bundle of keys must be signed by its device for this task")


def sign_survivors(identity: Ed25519PrivateKey, session_id: bytes, sharers: bytes, survivors: bytes) -> bytes:
    """Device: its signature over the two bitmaps that it was told, of equal length."""
    return identity.sign(_SURVIVORS_DOMAIN + session_id + sharers + survivors)


def confirms(signature: bytes, identity_key: bytes, session_id: bytes, sharers: bytes, survivors: bytes) -> bool:
    """Both sides: whether the owner of `identity_key` was told these two bitmaps."""
    return _is_signed(signature, identity_key, _SURVIVORS_DOMAIN + session_id + sharers + survivors)


def _is_signed(signature: bytes, identity_key: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(identity_key).verify(signature, signed)
    except (InvalidSignature, ValueError):  # ValueError: no Ed25519 key
        return False
    return True
