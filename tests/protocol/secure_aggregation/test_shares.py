"""Sealed shares are opened by the neighbour they are meant for, in the session they were sealed in, or not at all."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.secure_aggregation import errors
from protocol.secure_aggregation.errors import BadSeal
from protocol.secure_aggregation.shares import SEALED_BYTES, NeighbourShares, open_sealed, seal

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "primitives.json").read_text(encoding="utf-8"))
GOOD, BAD = VECTORS["sealed_shares"]["good"], VECTORS["sealed_shares"]["bad"]
SHARES = st.builds(NeighbourShares, *[st.binary(min_size=33, max_size=33)] * 2)
INDICES = st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2, unique=True)
KEY, SESSION_ID = bytes(range(32)), bytes(range(32, 64))
PLACE: dict[str, Any] = {"session_id": SESSION_ID, "sender": 3, "receiver": 7}


def sealed_at_place(shares: NeighbourShares) -> bytes:
    return seal(shares, KEY, **PLACE, random_bytes=secrets.token_bytes)


def place_of(vector: dict[str, Any]) -> dict[str, Any]:
    names = ("sender", "receiver")
    return {name: vector[name] for name in names} | {"session_id": bytes.fromhex(vector["session_id"])}


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["name"])
def test_vectors_of_shares_sealed_and_opened(vector: dict[str, Any]) -> None:
    shares = NeighbourShares(bytes.fromhex(vector["self_mask_seed"]), bytes.fromhex(vector["mask_private_key"]))
    key, sealed = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sealed"])
    nonce = bytes.fromhex(vector["nonce"])
    assert seal(shares, key, **place_of(vector), random_bytes=lambda _: nonce) == sealed
    assert open_sealed(sealed, key, **place_of(vector)) == shares


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["name"])
def test_vectors_of_sealed_shares_that_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, vector["raises"])):
        open_sealed(bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["key"]), **place_of(vector))


@given(SHARES, st.binary(min_size=32, max_size=32), INDICES)
def test_what_was_sealed_is_opened_and_always_as_long(shares: NeighbourShares, key: bytes, indices: list[int]) -> None:
    place: dict[str, Any] = {"session_id": SESSION_ID, "sender": indices[0], "receiver": indices[1]}
    sealed = seal(shares, key, **place, random_bytes=secrets.token_bytes)
    assert len(sealed) == SEALED_BYTES == 94
    assert open_sealed(sealed, key, **place) == shares


def test_every_flipped_bit_is_noticed() -> None:
    sealed = sealed_at_place(NeighbourShares(bytes(33), bytes(33)))
    for bit in range(8 * SEALED_BYTES):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSeal, match="must be those of member 3 for member 7, unchanged"):
            open_sealed(bytes(changed), KEY, **PLACE)


@given(st.binary(max_size=2 * SEALED_BYTES))
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(BadSeal):
        open_sealed(payload, KEY, **PLACE)


@given(st.binary(min_size=32, max_size=32), INDICES)
def test_another_session_or_direction_is_refused(session_id: bytes, indices: list[int]) -> None:
    place = {"session_id": session_id, "sender": indices[0], "receiver": indices[1]}
    sealed = sealed_at_place(NeighbourShares(bytes(33), bytes(33)))
    for name, value in place.items():
        other = PLACE | {name: value}
        assume(other != PLACE and other["sender"] != other["receiver"])
        with pytest.raises(BadSeal):
            open_sealed(sealed, KEY, **other)


def test_the_same_shares_never_look_alike_and_both_directions_may_have_one_key() -> None:
    shares = NeighbourShares(bytes(33), bytes(33))
    assert sealed_at_place(shares) != sealed_at_place(shares)
    back = PLACE | {"sender": 7, "receiver": 3}
    sealed_back = seal(shares, KEY, **back, random_bytes=secrets.token_bytes)
    assert open_sealed(sealed_back, KEY, **back) == shares


def test_no_share_shows_in_a_log() -> None:
    assert "abab" not in repr(NeighbourShares(b"\xab" * 33, b"\xab" * 33)) + str(NeighbourShares(b"\xab" * 33, b""))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shares": NeighbourShares(bytes(32), bytes(33))}, "self_mask_seed must be 33 bytes, got 32"),
        ({"shares": NeighbourShares(bytes(33), bytes(34))}, "mask_private_key must be 33 bytes, got 34"),
        ({"key": bytes(16)}, "key must be 32 bytes, got 16"),
        ({"session_id": bytes(31)}, "session_id must be 32 bytes, got 31"),
        ({"sender": -1}, "two indices from 0 to 2\\^32 - 1, got -1 and 7"),
        ({"receiver": 2**32}, "two indices from 0 to 2\\^32 - 1, got 3 and 4294967296"),
        ({"receiver": 3}, "two indices from 0 to 2\\^32 - 1, got 3 and 3"),
        ({"random_bytes": lambda _: b""}, "nonce must be 12 bytes, got 0"),
    ],
)
def test_what_cannot_be_sealed(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = PLACE | {
        "shares": NeighbourShares(bytes(33), bytes(33)),
        "key": KEY,
        "random_bytes": secrets.token_bytes,
    }
    with pytest.raises(ValueError, match=message):
        seal(**(arguments | changed))
