"""Enrolment: a device shows its key to a service once, and signs its requests with it from then on."""

import hashlib
from typing import Annotated

import msgspec

from protocol.manifest import Sha256Hex
from protocol.messages import Identifier, Message, Token

REQUEST_HASH_DOMAIN = "keychorus/enrolment/v1"
MAX_VERDICT_BYTES = 16 * 1024

PublicKeyHex = Sha256Hex
"""A raw Ed25519 public key: 32 bytes in hexadecimal, as `protocol.manifest.encode_public_key` writes them."""


class Enrol(Message, frozen=True, kw_only=True):
    """Device to service: take this key for mine. The request is signed with that very key, which proves possession.

    Attributes:
      device_id: whom the key belongs to, in this population.
      public_key: of the key pair that the device made for itself.
      token: the operator's, where the population asks for one.
      attestation: a signed verdict of the platform over `request_hash`, where the population asks for that.

    """

    device_id: Identifier
    public_key: PublicKeyHex
    token: Token | None = None
    attestation: Annotated[str, msgspec.Meta(max_length=MAX_VERDICT_BYTES)] | None = None


class Enrolled(Message, frozen=True, kw_only=True):
    """Service to device: requests signed with this key are yours. The same for a device that asks again."""

    device_id: Identifier
    public_key: PublicKeyHex


def request_hash(population: str, device_id: str, public_key: str) -> str:
    """What a verdict must be bound to, so that it enrols this key and no other: 64 hexadecimal digits."""
    lines = "\n".join((REQUEST_HASH_DOMAIN, population, device_id, public_key))
    return hashlib.sha256(lines.encode()).hexdigest()
