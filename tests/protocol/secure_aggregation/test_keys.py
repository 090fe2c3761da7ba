"""Two members agree on a secret of one purpose and session; points that would give it away are refused."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.secure_aggregation import errors
from protocol.secure_aggregation.errors import BadPoint
from protocol.secure_aggregation.keys import KeyPair, Purpose, agree, key_pair, require_point

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "primitives.json").read_text(encoding="utf-8"))["keys"]
OCTETS = st.binary(min_size=32, max_size=32)
SESSION_ID = bytes(range(32))
FIELD_PRIME = 2**255 - 19


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, without salt, for 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def x25519(private: bytes, public: bytes) -> bytes:
    """RFC 7748, section 5, as it is written there: Montgomery's ladder."""
    scalar = int.from_bytes(private, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    u = int.from_bytes(public, "little") % 2**255 % FIELD_PRIME
    x_2, z_2, x_3, z_3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        swapped = scalar >> bit & 1
        if swapped:
            x_2, z_2, x_3, z_3 = x_3, z_3, x_2, z_2
        a, b, c, d = x_2 + z_2, x_2 - z_2, x_3 + z_3, x_3 - z_3
        da, cb, e = d * a, c * b, a * a - b * b
        x_3, z_3 = (da + cb) ** 2 % FIELD_PRIME, u * (da - cb) ** 2 % FIELD_PRIME
        x_2, z_2 = a * a * b * b % FIELD_PRIME, e * (a * a + 121665 * e) % FIELD_PRIME
        if swapped:
            x_2, z_2, x_3, z_3 = x_3, z_3, x_2, z_2
    return (x_2 * pow(z_2, FIELD_PRIME - 2, FIELD_PRIME) % FIELD_PRIME).to_bytes(32, "little")


def agreed_on_paper(own: KeyPair, peer: KeyPair, purpose: Purpose, session_id: bytes) -> bytes:
    publics = min(own.public, peer.public) + max(own.public, peer.public)
    return hkdf(x25519(own.private, peer.public), purpose.value + session_id + publics)


def test_the_oracle_is_the_x25519_of_rfc_7748() -> None:
    """Section 5.2, after one iteration."""
    nine = (9).to_bytes(32, "little")
    assert x25519(nine, nine).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_vectors_of_agreed_secrets(vector: dict[str, Any]) -> None:
    alice, bob = (key_pair(bytes.fromhex(private)) for private in vector["privates"])
    purpose, session_id = Purpose[vector["purpose"]], bytes.fromhex(vector["session_id"])
    assert [alice.public.hex(), bob.public.hex()] == vector["publics"]
    assert x25519(alice.private, bob.public).hex() == vector["x25519"]
    assert agree(alice, bob.public, purpose, session_id).hex() == vector["agreed"]
    assert agree(bob, alice.public, purpose, session_id).hex() == vector["agreed"]


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_vectors_of_points_that_are_refused(vector: dict[str, Any]) -> None:
    public = bytes.fromhex(vector["public"])
    with pytest.raises(getattr(errors, vector["raises"])):
        require_point(public)
    with pytest.raises(getattr(errors, vector["raises"])):
        agree(key_pair(bytes(32)), public, Purpose.MASK, SESSION_ID)


@given(OCTETS, OCTETS, OCTETS, st.sampled_from(Purpose))
def test_both_sides_get_the_secret_on_paper(one: bytes, other: bytes, session_id: bytes, purpose: Purpose) -> None:
    alice, bob = key_pair(one), key_pair(other)
    expected = agreed_on_paper(alice, bob, purpose, session_id)
    assert agree(alice, bob.public, purpose, session_id) == expected
    assert agree(bob, alice.public, purpose, session_id) == expected


@given(OCTETS, OCTETS)
def test_another_purpose_session_or_peer_gives_another_secret(private: bytes, session_id: bytes) -> None:
    alice, bob, carol = key_pair(private), key_pair(b"\x01" * 32), key_pair(b"\x02" * 32)
    assume(session_id != SESSION_ID)
    secrets_agreed = {
        agree(alice, bob.public, Purpose.MASK, SESSION_ID),
        agree(alice, bob.public, Purpose.SEALING, SESSION_ID),
        agree(alice, bob.public, Purpose.MASK, session_id),
        agree(alice, carol.public, Purpose.MASK, SESSION_ID),
    }
    assert len(secrets_agreed) == 4


@given(OCTETS)
def test_every_genuine_key_is_a_point(private: bytes) -> None:
    require_point(key_pair(private).public)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_point_or_refused(public: bytes) -> None:
    """Whoever passes agrees on something; nothing but BadPoint leaves."""
    try:
        require_point(public)
    except BadPoint:
        return
    assert any(x25519(bytes(32), public))
    assert int.from_bytes(public, "little") < FIELD_PRIME


def test_no_private_key_shows_in_a_log() -> None:
    pair = key_pair(b"\xab" * 32)
    assert pair.private.hex() not in f"{pair} {pair!r}"
    assert repr(pair.private) not in f"{pair} {pair!r}"


def test_own_arguments_out_of_their_bounds() -> None:
    pair = key_pair(bytes(32))
    with pytest.raises(ValueError, match="private key must be 32 bytes, got 31"):
        key_pair(bytes(31))
    with pytest.raises(ValueError, match="private key must be 32 bytes, got 33"):
        agree(KeyPair(bytes(33), pair.public), pair.public, Purpose.MASK, SESSION_ID)
    with pytest.raises(ValueError, match="session_id must be 32 bytes, got 0"):
        agree(pair, pair.public, Purpose.MASK, b"")
