"""A signed request is believed only as it was signed: vectors of both sides, and any change of any field."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol import errors
from protocol.errors import MalformedMessage, WrongSignature
from protocol.manifest import decode_public_key
from protocol.signed_requests import RequestSignature, read_signature, sha256_hex, sign_request, verify_request

VECTORS = json.loads((Path(__file__).parent / "vectors" / "signed_requests.json").read_text(encoding="utf-8"))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SERVICE = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32)).public_key()
FIELDS = {
    "service": SERVICE,
    "method": "POST",
    "path": "/v1/populations/english/check-ins",
    "body_sha256": sha256_hex(b"{}"),
    "device_id": "ab" * 16,
    "at": 1_700_000_000,
    "nonce": "01" * 16,
}
HEX = "0123456789abcdef"
CHANGED: dict[str, st.SearchStrategy[Any]] = {
    "service": st.binary(min_size=32, max_size=32).map(
        lambda seed: Ed25519PrivateKey.from_private_bytes(seed).public_key()
    ),
    "method": st.sampled_from(["GET", "PUT", "POSTS", "POS"]),
    "path": st.text(max_size=80).map(lambda text: f"/{text}"),
    "body_sha256": st.text(HEX, min_size=64, max_size=64),
    "device_id": st.text(HEX, min_size=32, max_size=32),
    "at": st.integers(0, 10**15),
    "nonce": st.text(HEX, min_size=32, max_size=32),
}


def verify(headers: dict[str, str], **said: Any) -> RequestSignature:
    """What a service does: whatever travels in headers is read from them."""
    signature = read_signature(headers)
    verify_request(signature, KEY.public_key(), **{name: said[name] for name in ("service", "method", "path")})
    return signature


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_vectors_of_requests_that_pass(vector: dict[str, Any]) -> None:
    body = bytes.fromhex(vector["body"])
    fields = {name: vector[name] for name in ("method", "path", "device_id", "at", "nonce")}
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private_key"]))
    service = decode_public_key(vector["service"])
    assert sign_request(key, service=service, body_sha256=sha256_hex(body), **fields) == vector["headers"]
    signature = read_signature(vector["headers"])
    assert signature.body_sha256 == sha256_hex(body)
    assert (signature.device_id, signature.at, signature.nonce) == tuple(
        fields[name] for name in ("device_id", "at", "nonce")
    )
    public_key = decode_public_key(vector["public_key"])
    verify_request(signature, public_key, service=service, method=vector["method"], path=vector["path"])


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_vectors_of_requests_that_fail(vector: dict[str, Any]) -> None:
    public_key, service = decode_public_key(vector["public_key"]), decode_public_key(vector["service"])
    asked = {"service": service, "method": vector["method"], "path": vector["path"]}
    with pytest.raises(getattr(errors, vector["raises"])):
        verify_request(read_signature(vector["headers"]), public_key, **asked)


def test_the_headers_names_may_come_in_any_case() -> None:
    headers = sign_request(KEY, **FIELDS)
    assert verify({name.upper(): value for name, value in headers.items()}, **FIELDS).nonce == FIELDS["nonce"]


@given(st.data())
def test_any_change_of_any_field_breaks_the_signature(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    changed = FIELDS | {name: data.draw(CHANGED[name])}
    assume(changed[name] != FIELDS[name])
    genuine = sign_request(KEY, **FIELDS)
    forged = sign_request(Ed25519PrivateKey.generate(), **changed)  # whose headers say what was changed
    forged["Keychorus-Signature"] = genuine["Keychorus-Signature"]
    with pytest.raises(WrongSignature):
        verify(forged, **changed)


@given(place=st.integers(0, 511))
def test_any_changed_bit_of_the_signature_is_noticed(place: int) -> None:
    genuine = read_signature(sign_request(KEY, **FIELDS))
    changed = bytearray(genuine.signature)
    changed[place // 8] ^= 1 << place % 8
    values = {name: getattr(genuine, name) for name in ("device_id", "at", "nonce", "body_sha256")}
    forged = RequestSignature(signature=bytes(changed), **values)
    with pytest.raises(WrongSignature):
        verify_request(forged, KEY.public_key(), service=SERVICE, method=FIELDS["method"], path=FIELDS["path"])


def test_a_line_break_in_the_path_cannot_stand_for_another_field() -> None:
    """The path is the only field of free form: what follows its line break must not pass for a device."""
    headers = sign_request(KEY, **FIELDS)
    moved = f"{FIELDS['path']}\n{FIELDS['device_id']}"
    with pytest.raises(WrongSignature):
        verify(headers, **(FIELDS | {"path": moved}))


@given(st.dictionaries(st.sampled_from([*sign_request(KEY, **FIELDS)]), st.text(max_size=100)))
def test_no_header_whatever_is_more_than_a_protocol_error(changes: dict[str, str]) -> None:
    headers = sign_request(KEY, **FIELDS)
    assume(any(headers[name] != value for name, value in changes.items()))
    with pytest.raises((MalformedMessage, WrongSignature)):
        verify(headers | changes, **FIELDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "post"), ("method", "POST\n"), ("path", "v1"), ("device_id", "ab"), ("at", -1), ("nonce", "G" * 32)],
)
def test_a_device_does_not_sign_what_a_service_would_refuse(name: str, value: Any) -> None:
    with pytest.raises(MalformedMessage, match=name):
        sign_request(KEY, **(FIELDS | {name: value}))
