"""A verdict counts only if the right key signed it, over this very device's key, lately, for the genuine app."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.app import create_app
from aggregation_service.config import AttestationSettings, ConfigError, load_config
from aggregation_service.identity.attestation import SignedJwtVerifier
from aggregation_service.policy import PopulationPolicy
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.models import set_policy
from protocol.enrolment import MAX_VERDICT_BYTES, request_hash
from protocol.manifest import encode_public_key

NOW = 1_700_000_000.0
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
HASH = request_hash("en-gb", "ab" * 16, "cd" * 32)
PACKAGE, CERTIFICATE = "org.example.keyboard", "6a6a1474b5cbbb2b1aa57e0bc3"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def settings_of(path: Path) -> AttestationSettings:
    return AttestationSettings(key_path=path, package_name=PACKAGE, certificate_sha256=CERTIFICATE)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> SignedJwtVerifier:
    path = tmp_path_factory.mktemp("keys") / "attestation.pem"
    path.write_bytes(PUBLIC_PEM)
    return SignedJwtVerifier(settings_of(path))


def claims(*, bound_to: str = HASH, at: float = NOW) -> dict[str, Any]:
    """A decoded verdict as Play Integrity's documentation shows one."""
    return {
        "requestDetails": {
            "requestPackageName": PACKAGE,
            "requestHash": bound_to,
            "timestampMillis": str(int(at * 1000)),
        },
        "appIntegrity": {
            "appRecognitionVerdict": "PLAY_RECOGNIZED",
            "packageName": PACKAGE,
            "certificateSha256Digest": [CERTIFICATE],
            "versionCode": "42",
        },
        "deviceIntegrity": {"deviceRecognitionVerdict": ["MEETS_DEVICE_INTEGRITY", "MEETS_STRONG_INTEGRITY"]},
        "accountDetails": {"appLicensingVerdict": "LICENSED"},
    }


def signed(content: dict[str, Any]) -> str:
    return jwt.encode(content, KEY, algorithm="ES256")


def changed(section: str, **fields: Any) -> dict[str, Any]:
    content = claims()
    return content | {section: content[section] | fields}


def without(section: str, name: str) -> dict[str, Any]:
    content = claims()
    return content | {section: {key: value for key, value in content[section].items() if key != name}}


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def as_hmac_under_the_public_key() -> str:
    """The confusion of algorithms: the public key, which everybody has, as the secret of a MAC."""
    content = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims())}"
    mac = hmac.digest(PUBLIC_PEM, content.encode(), hashlib.sha256)
    return f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def by_rsa() -> str:
    return jwt.encode(claims(), rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithm="RS256")


WRONG: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no JWT": lambda: "a.b.c",
    "not ASCII": lambda: "\u00e9.\U0001f600.x",
    "alg none": lambda: jwt.encode(claims(), None, algorithm="none"),
    "alg none, by hand": lambda: f"{encoded({'alg': 'none'})}.{encoded(claims())}.",
    "HS256 under the public key": as_hmac_under_the_public_key,
    "RS256": by_rsa,
    "another key": lambda: jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
    "changed after it was signed": lambda: ".".join(
        (signed(claims()).split(".")[0], encoded(changed("appIntegrity", versionCode="43")), signed(claims())[-86:])
    ),
    "another device's hash": lambda: signed(claims(bound_to=request_hash("en-gb", "ba" * 16, "cd" * 32))),
    "another key's hash": lambda: signed(claims(bound_to=request_hash("en-gb", "ab" * 16, "dc" * 32))),
    "another population's hash": lambda: signed(claims(bound_to=request_hash("en-us", "ab" * 16, "cd" * 32))),
    "no hash": lambda: signed(without("requestDetails", "requestHash")),
    "old": lambda: signed(claims(at=NOW - 601)),
    "of the future": lambda: signed(claims(at=NOW + 601)),
    "a time beyond all bounds": lambda: signed(changed("requestDetails", timestampMillis=10**400)),
    "a time that is none": lambda: signed(changed("requestDetails", timestampMillis="now")),
    "asked for by another app": lambda: signed(changed("requestDetails", requestPackageName="org.evil")),
    "about another app": lambda: signed(changed("appIntegrity", packageName="org.evil")),
    "unrecognised": lambda: signed(changed("appIntegrity", appRecognitionVerdict="UNRECOGNIZED_VERSION")),
    "another certificate": lambda: signed(changed("appIntegrity", certificateSha256Digest=["other"])),
    "one more certificate": lambda: signed(changed("appIntegrity", certificateSha256Digest=[CERTIFICATE, "other"])),
    "no certificate": lambda: signed(changed("appIntegrity", certificateSha256Digest=[])),
    "a weak device": lambda: signed(changed("deviceIntegrity", deviceRecognitionVerdict=["MEETS_BASIC_INTEGRITY"])),
    "an unknown device": lambda: signed(without("deviceIntegrity", "deviceRecognitionVerdict")),
    "without a section": lambda: signed({"requestDetails": claims()["requestDetails"]}),
    "a section of another type": lambda: signed(claims() | {"appIntegrity": "PLAY_RECOGNIZED"}),
    "huge": lambda: signed(claims() | {"padding": "x" * MAX_VERDICT_BYTES}),
}


def test_a_genuine_verdict_counts(verifier: SignedJwtVerifier) -> None:
    for offset in (-600, 0, 600):
        verifier.verify(signed(claims(at=NOW + offset)), request_hash=HASH, now=NOW)
    with_nonce = without("requestDetails", "requestHash")
    with_nonce["requestDetails"]["nonce"] = HASH
    verifier.verify(signed(with_nonce), request_hash=HASH, now=NOW)
    verifier.verify(signed(changed("requestDetails", timestampMillis=int(NOW * 1000))), request_hash=HASH, now=NOW)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_verdict_does_not(verifier: SignedJwtVerifier, name: str) -> None:
    with pytest.raises(Refused) as caught:
        verifier.verify(WRONG[name](), request_hash=HASH, now=NOW)
    assert caught.value.kind is RefusalKind.ENROLMENT_REFUSED
    assert "evil" not in caught.value.detail


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300), place=st.integers(0, 2))
def test_no_text_whatever_is_more_than_a_refusal(verifier: SignedJwtVerifier, text: str, place: int) -> None:
    parts = signed(claims()).split(".")
    parts[place] = text
    with pytest.raises(Refused):
        verifier.verify(".".join(parts), request_hash=HASH, now=NOW)


def jwk(key: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": kid, "alg": "ES256"}


def test_keys_of_a_jwks_file_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [jwk(KEY, "old"), jwk(other, "new")]}))
    verifier = SignedJwtVerifier(settings_of(path))
    for key, kid in ((KEY, "old"), (other, "new")):
        verdict = jwt.encode(claims(), key, algorithm="ES256", headers={"kid": kid})
        verifier.verify(verdict, request_hash=HASH, now=NOW)
    for kid in ("new", "none", None):
        headers = {} if kid is None else {"kid": kid}
        verdict = jwt.encode(claims(), KEY, algorithm="ES256", headers=headers)
        with pytest.raises(Refused):
            verifier.verify(verdict, request_hash=HASH, now=NOW)


def p384() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pem", b""), ("a.pem", b"\xff"), ("a.pem", p384()), ("a.json", b"{}"), ("a.json", b"[]"), ("a.json", b"\xff")],
)
def test_a_file_without_the_right_keys_is_refused_at_the_start(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="attestation key"):
        SignedJwtVerifier(settings_of(tmp_path / name))
    with pytest.raises(ConfigError, match="cannot be read"):
        SignedJwtVerifier(settings_of(tmp_path / "missing"))


@dataclass
class _Attested:
    rehearsal: Any
    device_id: str = "ab" * 16

    def enrol(self, **changes: Any) -> Any:
        public_key = encode_public_key(self.rehearsal.key(self.device_id).public_key())
        bound_to = request_hash("en-gb", self.device_id, public_key)
        verdict = signed(claims(bound_to=bound_to, at=self.rehearsal.now))
        return self.rehearsal.post_enrol(self.device_id, **({"attestation": verdict} | changes))


def test_a_service_configured_with_a_key_enrols_by_verdict(rehearsal: Any) -> None:
    config_path = rehearsal.folder / "service.toml"
    (rehearsal.folder / "attestation.pem").write_bytes(PUBLIC_PEM)
    told = 'attestation_key_path = "attestation.pem"\n'
    told += f'attestation_package_name = "{PACKAGE}"\nattestation_certificate_sha256 = "{CERTIFICATE}"\n'
    config_path.write_text(config_path.read_text() + told)
    rehearsal.restart()
    with rehearsal.service.database.write() as connection:
        set_policy(connection, "en-gb", PopulationPolicy(enrolment="attestation"))
    device = _Attested(rehearsal)
    assert device.enrol(attestation=None, token=rehearsal.token).status_code == 403
    assert device.enrol(attestation=signed(claims())).status_code == 403
    assert device.enrol().status_code == 200
    rehearsal.enrolled.add(device.device_id)
    rehearsal.post_check_in(device.device_id)


def test_settings_are_all_or_none(rehearsal: Any) -> None:
    config_path = rehearsal.folder / "service.toml"
    assert load_config(config_path).attestation is None
    with pytest.raises(ConfigError, match="set together"):
        replace(load_config(config_path), attestation_package_name=PACKAGE)
    broken = replace(
        load_config(config_path),
        attestation_key_path=rehearsal.folder / "missing.pem",
        attestation_package_name=PACKAGE,
        attestation_certificate_sha256=CERTIFICATE,
    )
    with pytest.raises(ConfigError, match="cannot be read"):
        create_app(broken)
