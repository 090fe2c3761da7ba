"""Attestation: a platform's signed word that a genuine app on a genuine device made this key.

`SignedJwtVerifier` reads the verdicts of Play Integrity in their decoded shape, signed as a JWT. Google seals a verdict
to the app's publisher, who may unseal and sign it again by a server of its own: its public key is what this service
is configured with. Another platform brings another `AttestationVerifier`.
"""

import hmac
from pathlib import Path
from typing import Annotated, Any, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from aggregation_service.config import AttestationSettings, ConfigError
from aggregation_service.refusals import RefusalKind, Refused
from protocol.enrolment import MAX_VERDICT_BYTES

ALGORITHM = "ES256"
"""The only one: who may choose the algorithm may choose `none`, or a MAC under the public key."""
MAX_VERDICT_AGE_S = 600.0

_UNCHECKED_CLAIMS = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False)
"""A verdict has a time of its own, which is checked by the service's clock instead of the machine's."""


class AttestationVerifier(Protocol):
    """Checks a platform's verdict."""

    def verify(self, verdict: str, *, request_hash: str, now: float) -> None:
        """Returns if `verdict` vouches for a genuine app and device.

        Args:
          verdict: as the device sent it.
          request_hash: what it must be bound to, see `protocol.enrolment.request_hash`.
          now: seconds since 1970.

        Raises:
          Refused: ENROLMENT_REFUSED: it does not.

        """


_Millis = (
    Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,16}\Z")] | Annotated[int, msgspec.Meta(ge=0, lt=10**16)]
)  # Google's JSON writes 64-bit integers as strings


class _RequestDetails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_package_name: str
    timestamp_millis: _Millis
    request_hash: str | None = None
    nonce: str | None = None


class _AppIntegrity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    app_recognition_verdict: str
    package_name: str
    certificate_sha256_digest: list[str] = msgspec.field(name="certificateSha256Digest")


class _DeviceIntegrity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    device_recognition_verdict: list[str]


class _Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    request_details: _RequestDetails
    app_integrity: _AppIntegrity
    device_integrity: _DeviceIntegrity


class SignedJwtVerifier:
    """Reads verdicts of Play Integrity's shape from JWTs signed with ES256."""

    def __init__(self, settings: AttestationSettings) -> None:
        """Reads the keys.

        Raises:
          ConfigError: the file cannot be read, or holds anything but P-256 public keys.

        """
        self._settings = settings
        self._keys = _load_keys(settings.key_path)

    def verify(self, verdict: str, *, request_hash: str, now: float) -> None:
        """See `AttestationVerifier`.

        Guarantees:
          accepts no verdict unless one of the configured keys signed it by ES256, over `request_hash`, at most
          `MAX_VERDICT_AGE_S` ago, for the configured app as its store knows it, on a device of integrity.

        Raises:
          Refused: ENROLMENT_REFUSED: anything else; the message names what failed, not its value.

        """
        content = self._open(verdict)
        details, app = content.request_details, content.app_integrity
        age_s = abs(now - int(details.timestamp_millis) / 1000)
        bound_to = (details.request_hash or details.nonce or "").encode()
        _require(hmac.compare_digest(bound_to, request_hash.encode()), "be bound to this device's key")
        _require(age_s <= MAX_VERDICT_AGE_S, f"be at most {MAX_VERDICT_AGE_S:.0f} s old")
        _require(details.request_package_name == self._settings.package_name, "be asked for by the genuine app")
        _require(app.package_name == self._settings.package_name, "be about the genuine app")
        _require(app.app_recognition_verdict == "PLAY_RECOGNIZED", "recognise the app")
        certificates = app.certificate_sha256_digest
        _require(certificates == [self._settings.certificate_sha256], "name the app's certificate")
        integrity = content.device_integrity.device_recognition_verdict
        _require("MEETS_DEVICE_INTEGRITY" in integrity, "vouch for the device")

    def _open(self, verdict: str) -> _Verdict:
        _require(len(verdict.encode()) <= MAX_VERDICT_BYTES, f"have at most {MAX_VERDICT_BYTES} bytes")
        try:
            key = self._key_of(jwt.get_unverified_header(verdict).get("kid"))
            claims = jwt.decode(verdict, key, algorithms=[ALGORITHM], options=_options())
            return msgspec.convert(claims, _Verdict)
        except jwt.InvalidTokenError:
            raise _refused(f"be signed with {ALGORITHM} by the key that this service trusts") from None
        except (msgspec.ValidationError, RecursionError):
            raise _refused("have the fields of an integrity verdict") from None

    def _key_of(self, kid: Any) -> ec.EllipticCurvePublicKey:
        if len(self._keys) == 1 and None in self._keys:  # a PEM file names no keys
            return self._keys[None]
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise jwt.InvalidTokenError
        return key


def _load_keys(path: Path) -> dict[str | None, ec.EllipticCurvePublicKey]:
    try:
        content = path.read_bytes()
        if path.suffix == ".json":
            keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_json(content.decode()).keys}
        else:
            keys = {None: load_pem_public_key(content)}
    except OSError as error:
        raise ConfigError(f"attestation key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
        raise ConfigError(f"attestation key {path} must be a PEM or JWKS file, got something else") from None
    if not all(_is_p256(key) for key in keys.values()):
        raise ConfigError(f"attestation key {path} must hold P-256 public keys only, got others")
    return keys


def _is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _options() -> Any:
    return {**_UNCHECKED_CLAIMS, "verify_signature": True}


def _require(holds: bool, must: str) -> None:
    if not holds:
        raise _refused(must)


def _refused(must: str) -> Refused:
    return Refused(RefusalKind.ENROLMENT_REFUSED, f"the attestation verdict must {must}")
