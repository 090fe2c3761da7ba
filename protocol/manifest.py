"""Signed manifests: which files make up a round's configuration or a release, by SHA-256 and Ed25519 signature."""

import hashlib
from typing import Annotated, Literal, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.decoding import decode_json
from protocol.errors import MalformedMessage, WrongContent, WrongManifest, WrongSignature

SIGNATURE_DOMAIN = b"keychorus/manifest/v1\n"
"""Prefixed to what is signed, so that a manifest's signature can never pass for another message's."""

MAX_FILE_BYTES = 64 * 1024 * 1024

Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Purpose = Literal["round", "release"]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file named by its content."""

    sha256: Sha256Hex
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_FILE_BYTES)]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Describes `content`."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. A round's manifest names plan, training graph, checkpoint and perhaps a vocabulary; a release's
    the predictor's files.

    `model_version` counts the server's optimiser steps since the population began, so that a device can tell an older
    model from a newer one. Releases of a population have strictly growing `created_at`.

    `is_rollback` marks a release that goes back to the files, and so to the model version, of an earlier one: an
    operator withdrew what came between. Only a release may have it, and no other bytes of a manifest show that the
    field exists, so that devices of before it read all manifests but rollbacks.
    """

    format_version: Literal[1] = 1
    purpose: Purpose
    population: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    model_version: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    created_at: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    files: dict[Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.]{0,63}\Z")], FileEntry]
    is_rollback: Literal[True] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.is_rollback is True and self.purpose != "release":
            raise ValueError("is_rollback must be unset but in a release")


class SignedManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A manifest as it travels: the exact bytes that were signed, and the signature over them."""

    manifest: Annotated[bytes, msgspec.Meta(max_length=16 * 1024)]
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


def sign_manifest(manifest: Manifest, key: Ed25519PrivateKey) -> SignedManifest:
    """Service or operator: signs `manifest`."""
    payload = msgspec.json.encode(manifest)
    return SignedManifest(manifest=payload, signature=key.sign(SIGNATURE_DOMAIN + payload))


def open_manifest(
    signed: SignedManifest, key: Ed25519PublicKey, *, purpose: Purpose, population: str, minimum_version: int = 0
) -> Manifest:
    """Device: verifies a manifest and that it belongs here.

    Args:
      signed: as received.
      key: the public key that the device was enrolled with.
      purpose: what the manifest must be for.
      population: the population that the device belongs to.
      minimum_version: the newest model version this device has accepted; anything older is refused.

    Raises:
      WrongSignature: not signed by `key`, or changed afterwards.
      MalformedMessage: signed, but not a manifest of this format.
      WrongManifest: for another purpose or population, or older than `minimum_version`.

    """
    try:
        key.verify(signed.signature, SIGNATURE_DOMAIN + signed.manifest)
    except InvalidSignature:
        raise WrongSignature("the manifest's signature is not by the enrolled key") from None
    manifest = decode_manifest(signed.manifest)
    if manifest.purpose != purpose:
        raise WrongManifest(f"manifest purpose must be {purpose}, got {manifest.purpose}")
    if manifest.population != population:
        raise WrongManifest(f"manifest population must be {population}, got {manifest.population}")
    if manifest.model_version < minimum_version:
        raise WrongManifest(f"model_version must be >= {minimum_version}, got {manifest.model_version}")
    return manifest


def decode_manifest(payload: bytes) -> Manifest:
    """Decodes a manifest whose signature was checked.

    Raises:
      MalformedMessage: not a manifest of this format.

    """
    return decode_json(payload, Manifest, "manifest")


def check_content(content: bytes, entry: FileEntry) -> bytes:
    """Device: returns `content` if it is what `entry` names.

    Raises:
      WrongContent: other size or other SHA-256.

    """
    if len(content) != entry.size_bytes:
        raise WrongContent(f"file must have {entry.size_bytes} bytes, got {len(content)}")
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise WrongContent(f"file must have SHA-256 {entry.sha256}, got another")
    return content


def encode_public_key(key: Ed25519PublicKey) -> str:
    """Writes a public key as 64 hexadecimal digits."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def decode_public_key(text: str) -> Ed25519PublicKey:
    """Reads a public key from 64 hexadecimal digits.

    Raises:
      MalformedMessage: not 64 hexadecimal digits.

    """
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError:
        raise MalformedMessage("a public key must be 64 hexadecimal digits") from None
