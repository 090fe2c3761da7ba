"""A manifest is believed only if the right key signed exactly it, for here and not for an older time."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage, WrongContent, WrongManifest, WrongSignature
from protocol.manifest import (
    SIGNATURE_DOMAIN,
    FileEntry,
    Manifest,
    SignedManifest,
    check_content,
    decode_public_key,
    encode_public_key,
    open_manifest,
    sign_manifest,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PLAN = FileEntry.of(b"a plan")
MANIFEST = Manifest(purpose="round", population="english", model_version=7, created_at=0, files={"plan": PLAN})
SIGNED = sign_manifest(MANIFEST, KEY)


def opened(signed=SIGNED, key=None, purpose="round", population="english", minimum_version=0):
    key = key or KEY.public_key()
    return open_manifest(signed, key, purpose=purpose, population=population, minimum_version=minimum_version)


def test_a_genuine_manifest_opens():
    assert opened(minimum_version=7) == MANIFEST


@given(st.integers(0, len(SIGNED.manifest) - 1), st.integers(1, 255))
def test_any_changed_byte_breaks_the_signature(place, change):
    payload = bytearray(SIGNED.manifest)
    payload[place] ^= change
    with pytest.raises(WrongSignature):
        opened(SignedManifest(manifest=bytes(payload), signature=SIGNED.signature))


def test_another_key_or_an_empty_signature_is_refused():
    other = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    with pytest.raises(WrongSignature):
        opened(sign_manifest(MANIFEST, other))
    with pytest.raises(WrongSignature):
        opened(SignedManifest(manifest=SIGNED.manifest, signature=bytes(64)))


def test_a_signature_over_the_bare_bytes_is_not_a_manifests():
    bare = SignedManifest(manifest=SIGNED.manifest, signature=KEY.sign(SIGNED.manifest))
    with pytest.raises(WrongSignature):
        opened(bare)


@pytest.mark.parametrize("wrong", [{"purpose": "release"}, {"population": "german"}, {"minimum_version": 8}])
def test_a_genuine_manifest_for_elsewhere_or_the_past_is_refused(wrong):
    with pytest.raises(WrongManifest):
        opened(**wrong)


def test_signed_nonsense_is_malformed():
    payload = b'{"purpose": "party"}'
    signed = SignedManifest(manifest=payload, signature=KEY.sign(SIGNATURE_DOMAIN + payload))
    with pytest.raises(MalformedMessage):
        opened(signed)


def test_a_manifest_without_rollback_has_the_bytes_it_always_had():
    assert SIGNED.manifest == (
        b'{"format_version":1,"purpose":"round","population":"english","model_version":7,"created_at":0,'
        b'"files":{"plan":{"sha256":"' + PLAN.sha256.encode() + b'","size_bytes":6}}}'
    )


def test_only_a_release_can_be_a_rollback():
    release = msgspec.structs.replace(MANIFEST, purpose="release", is_rollback=True)
    assert opened(sign_manifest(release, KEY), purpose="release").is_rollback is True
    with pytest.raises(ValueError, match="is_rollback"):
        msgspec.structs.replace(MANIFEST, is_rollback=True)
    payload = SIGNED.manifest[:-1] + b',"is_rollback":true}'
    signed = SignedManifest(manifest=payload, signature=KEY.sign(SIGNATURE_DOMAIN + payload))
    with pytest.raises(MalformedMessage):
        opened(signed)


def test_content_must_be_what_was_named():
    assert check_content(b"a plan", PLAN) == b"a plan"
    for wrong in (b"a plam", b"a plan ", b""):
        with pytest.raises(WrongContent):
            check_content(wrong, PLAN)


def test_public_keys_travel_as_hexadecimal_digits():
    text = encode_public_key(KEY.public_key())
    assert encode_public_key(decode_public_key(text)) == text
    for wrong in ("", "zz", text[:-2], text + "00"):
        with pytest.raises(MalformedMessage):
            decode_public_key(wrong)
