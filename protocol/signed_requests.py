"""Signed requests: which device sent a request to which service, when, and that nobody changed it, by its Ed25519 key.

A request carries five headers: who (`Keychorus-Device`), when (`Keychorus-Time`), a nonce that is never used twice
(`Keychorus-Nonce`), the body's SHA-256 (`Content-Digest`, RFC 9530) and the signature over these with method, path and
the service's public key (`Keychorus-Signature`): a service that a device trusts cannot use its request at another one.
RFC 9421 would allow more choices than two parties that know each other need.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import MalformedMessage, WrongSignature
from protocol.manifest import encode_public_key

SIGNATURE_DOMAIN = b"keychorus/request/v1\n"
"""Prefixed to what is signed, so that a request's signature can never pass for another message's."""

DEVICE_HEADER = "Keychorus-Device"
TIME_HEADER = "Keychorus-Time"
"""Integer seconds since 1970; a service that refuses a request for its time answers with its own in this header."""
NONCE_HEADER = "Keychorus-Nonce"
DIGEST_HEADER = "Content-Digest"
SIGNATURE_HEADER = "Keychorus-Signature"

MAX_CLOCK_SKEW_S = 300
"""How far a request's time may be from the service's clock, in either direction."""

_IDENTIFIER = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SECONDS = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{1,64}):", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestSignature:
    """What a request says about itself, not verified yet.

    Attributes:
      device_id: 32 hexadecimal digits.
      at: integer seconds since 1970, by the device's corrected clock.
      nonce: 32 hexadecimal digits.
      body_sha256: 64 hexadecimal digits; that of no bytes where there is no body.
      signature: 64 bytes.

    """

    device_id: str
    at: int
    nonce: str
    body_sha256: str
    signature: bytes


def sha256_hex(body: bytes) -> str:
    """The SHA-256 of a body, as both sides name it."""
    return hashlib.sha256(body).hexdigest()


def sign_request(
    key: Ed25519PrivateKey,
    *,
    service: Ed25519PublicKey,
    method: str,
    path: str,
    body_sha256: str,
    device_id: str,
    at: int,
    nonce: str,
) -> dict[str, str]:
    """Device: the headers that sign a request.

    Args:
      key: the device's.
      service: the key that verifies the service's manifests.
      method: such as POST.
      path: as in `protocol.routes`, without the prefix of a proxy, with the query if there is one.
      body_sha256: of the exact body, `sha256_hex(b"")` without one.
      device_id: whose key it is.
      at: integer seconds since 1970.
      nonce: 128 fresh random bits in hexadecimal.

    Raises:
      MalformedMessage: a value that the service would refuse.

    """
    signed = _signed_bytes(
        service=service, method=method, path=path, device_id=device_id, at=at, nonce=nonce, body_sha256=body_sha256
    )
    return {
        DEVICE_HEADER: device_id,
        TIME_HEADER: str(at),
        NONCE_HEADER: nonce,
        DIGEST_HEADER: f"sha-256=:{base64.b64encode(bytes.fromhex(body_sha256)).decode()}:",
        SIGNATURE_HEADER: base64.b64encode(key.sign(signed)).decode(),
    }


def read_signature(headers: Mapping[str, str]) -> RequestSignature:
    """Service: reads the five headers; their names' case does not matter.

    Raises:
      MalformedMessage: one is missing, or not of its form.

    """
    by_name = {name.lower(): value for name, value in headers.items()}
    return RequestSignature(
        device_id=_matched(by_name, DEVICE_HEADER, _IDENTIFIER)[0],
        at=int(_matched(by_name, TIME_HEADER, _SECONDS)[0]),
        nonce=_matched(by_name, NONCE_HEADER, _IDENTIFIER)[0],
        body_sha256=_decoded(_matched(by_name, DIGEST_HEADER, _DIGEST)[1], 32, DIGEST_HEADER).hex(),
        signature=_decoded(by_name.get(SIGNATURE_HEADER.lower(), ""), 64, SIGNATURE_HEADER),
    )


def verify_request(
    signature: RequestSignature, public_key: Ed25519PublicKey, *, service: Ed25519PublicKey, method: str, path: str
) -> None:
    """Service: checks that `public_key` signed exactly this request, to the service of the public key `service`.

    Guarantees:
      whoever changes the service, the method, the path, the device, the time, the nonce or the body's digest is
      noticed. That the body has this digest, that the time is near, and that the nonce is new, is for the caller to
      check.

    Raises:
      WrongSignature: signed by another key or for another service, or changed afterwards.

    """
    signed = _signed_bytes(
        service=service,
        method=method,
        path=path,
        device_id=signature.device_id,
        at=signature.at,
        nonce=signature.nonce,
        body_sha256=signature.body_sha256,
    )
    try:
        public_key.verify(signature.signature, signed)
    except InvalidSignature:
        raise WrongSignature("the request's signature is not by the device's key") from None


def _signed_bytes(
    *, service: Ed25519PublicKey, method: str, path: str, device_id: str, at: int, nonce: str, body_sha256: str
) -> bytes:
    """One line each. Only a path could hold a line break, and it is the only field of free form: no two requests
    share their bytes.
    """
    _require(re.fullmatch("[A-Z]{1,16}", method) is not None, "method", "1 to 16 upper-case letters")
    _require(path.startswith("/"), "path", "absolute")
    _require(_IDENTIFIER.fullmatch(device_id) is not None, "device_id", "32 hexadecimal digits")
    _require(_SECONDS.fullmatch(str(at)) is not None, "at", "integer seconds since 1970")
    _require(_IDENTIFIER.fullmatch(nonce) is not None, "nonce", "32 hexadecimal digits")
    _require(_SHA256.fullmatch(body_sha256) is not None, "body_sha256", "64 hexadecimal digits")
    lines = (encode_public_key(service), method, path, device_id, str(at), nonce, body_sha256)
    return SIGNATURE_DOMAIN + "\n".join(lines).encode("utf-8", "surrogatepass")


def _require(holds: bool, name: str, form: str) -> None:
    if not holds:
        raise MalformedMessage(f"{name} of a signed request must be {form}")


def _matched(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> re.Match[str]:
    value = headers.get(name.lower())
    if value is None:
        raise MalformedMessage(f"a signed request must have the header {name}")
    found = form.fullmatch(value)
    if found is None:
        raise MalformedMessage(f"the header {name} must be of its form, got something else")
    return found


def _decoded(text: str, num_bytes: int, name: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != num_bytes:
        raise MalformedMessage(f"the header {name} must hold {num_bytes} bytes in base64, got something else")
    return decoded
