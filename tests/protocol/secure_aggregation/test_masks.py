"""Masks against ChaCha20 in pure Python, and the property they exist for: they hide a vector and cancel in a sum."""

import hashlib
import hmac
import json
import secrets
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.lanes import LaneArray, lane_dtype
from protocol.secure_aggregation.masks import Sign, add_mask

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "primitives.json").read_text(encoding="utf-8"))["masks"]
SEEDS = st.binary(min_size=32, max_size=32)
LANE_BITS = st.sampled_from([8, 16, 32])
SIGNS: tuple[Sign, Sign] = (1, -1)


def zeros(length: int, lane_bits: int) -> LaneArray:
    return np.zeros(length, lane_dtype(lane_bits))


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, without salt, for 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    """RFC 8439, section 2.1."""
    for x, y, z, rotation in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) % 2**32
        rotated = state[z] ^ state[x]
        state[z] = (rotated << rotation | rotated >> 32 - rotation) % 2**32


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, section 2.3."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8L", key), counter]
    start += struct.unpack("<3L", nonce)
    state = list(start)
    for _ in range(10):
        for column in range(4):
            quarter_round(state, column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter_round(state, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<16L", *((x + y) % 2**32 for x, y in zip(state, start, strict=True)))


def mask_on_paper(seed: bytes, length: int, lane_bits: int) -> list[int]:
    key = hkdf(seed, b"keychorus mask v1")
    lane_bytes = lane_bits // 8
    blocks = range(-(-length * lane_bytes // 64))
    keystream = b"".join(chacha20_block(key, counter, bytes(12)) for counter in blocks)
    return [int.from_bytes(keystream[i * lane_bytes : (i + 1) * lane_bytes], "little") for i in range(length)]


def test_the_oracle_is_the_chacha20_of_rfc_8439() -> None:
    """Section 2.3.2."""
    block = chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )


def test_the_oracle_is_the_hkdf_of_rfc_5869() -> None:
    """Test case 3, the first 32 bytes."""
    assert hkdf(b"\x0b" * 22, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_vectors_of_masks_put_on_and_taken_off(vector: dict[str, Any]) -> None:
    dtype = lane_dtype(vector["lane_bits"])
    before, after = (np.frombuffer(bytes.fromhex(vector[name]), dtype) for name in ("lanes", "masked"))
    total: LaneArray = before.copy()
    for mask in vector["masks"]:
        add_mask(total, bytes.fromhex(mask["seed"]), sign=mask["sign"])
    np.testing.assert_array_equal(total, after)
    for mask in vector["masks"]:
        add_mask(total, bytes.fromhex(mask["seed"]), sign=-mask["sign"])
    np.testing.assert_array_equal(total, before)


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_vectors_of_seeds_that_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="seed must have 32 bytes"):
        add_mask(zeros(40, 16), bytes.fromhex(vector["seed"]))


@given(SEEDS, st.integers(0, 150), LANE_BITS, st.sampled_from(SIGNS))
def test_a_mask_is_the_keystream_on_paper(seed: bytes, length: int, lane_bits: int, sign: Sign) -> None:
    total = zeros(length, lane_bits)
    add_mask(total, seed, sign=sign)
    assert total.tolist() == [sign * lane % 2**lane_bits for lane in mask_on_paper(seed, length, lane_bits)]


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_a_mask_goes_on_from_block_to_block(lane_bits: int) -> None:
    """To the last lane of three blocks and a bit; a shorter vector has the beginning of the same mask."""
    length = 3 * 65536 * 8 // lane_bits + 5
    total, shorter = zeros(length, lane_bits), zeros(length // 2, lane_bits)
    add_mask(total, bytes(32))
    add_mask(shorter, bytes(32))
    np.testing.assert_array_equal(shorter, total[: length // 2])
    last = (length - 1) * (lane_bits // 8)  # its first byte in the keystream
    block = chacha20_block(hkdf(bytes(32), b"keychorus mask v1"), last // 64, bytes(12))
    assert total[-1] == int.from_bytes(block[last % 64 :][: lane_bits // 8], "little")


@given(st.lists(SEEDS, max_size=5), st.lists(st.integers(0, 2**16 - 1), max_size=40), st.randoms())
def test_masks_cancel_in_any_order(seeds: list[bytes], values: list[int], rng: Any) -> None:
    total: LaneArray = np.array(values, lane_dtype(16))
    signed = [(seed, sign) for seed in seeds for sign in SIGNS]
    rng.shuffle(signed)
    for seed, sign in signed:
        add_mask(total, seed, sign=sign)
    assert total.tolist() == values


@given(st.integers(8, 32), st.integers(2, 4), st.data())
def test_pairwise_masks_hide_every_vector_and_leave_the_sum(value_bits: int, members: int, data: st.DataObject) -> None:
    """Sums are exact modulo 2^value_bits, also where lanes are wider."""
    values = data.draw(
        st.lists(
            st.lists(st.integers(0, 2**value_bits - 1), min_size=8, max_size=8), min_size=members, max_size=members
        )
    )
    masked: list[LaneArray] = [np.array(vector, lane_dtype(value_bits)) for vector in values]
    for i in range(members):
        for j in range(i + 1, members):
            seed = secrets.token_bytes(32)
            add_mask(masked[i], seed, sign=1)
            add_mask(masked[j], seed, sign=-1)
    assert all(lanes.tolist() != vector for lanes, vector in zip(masked, values, strict=True))
    total = zeros(8, value_bits)
    for lanes in masked:
        total += lanes
    exact = [sum(column) % 2**value_bits for column in zip(*values, strict=True)]
    assert [lane % 2**value_bits for lane in total.tolist()] == exact


@pytest.mark.parametrize("value_bits", [8, 12, 16, 20, 32])
def test_masked_values_are_uniform(value_bits: int) -> None:
    """Chi-squared of the lowest and highest four bits of 200,000 values; with 15 degrees of freedom, 60 is far out."""
    total = zeros(200_000, value_bits)
    add_mask(total, bytes(range(32)))
    for shift in (0, value_bits - 4):
        counts = np.bincount((total >> total.dtype.type(shift)).astype(np.int64) % 16, minlength=16)
        assert float(((counts - 12_500) ** 2 / 12_500).sum()) < 60


def test_big_endian_lanes_get_the_same_mask() -> None:
    native, swapped = np.arange(100, dtype="<u2"), np.arange(100, dtype=">u2")
    add_mask(native, bytes(32))
    add_mask(swapped, bytes(32))
    assert native.tolist() == swapped.tolist()


def test_no_mask_is_ever_whole_in_memory() -> None:
    total = zeros(1_422_250, 16)
    tracemalloc.start()
    add_mask(total, bytes(32))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 250_000


@pytest.mark.parametrize("dtype", ["u8", "i2", "f4", "?"])
def test_other_lanes_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="total must be a vector of uint8, uint16 or uint32, got"):
        add_mask(np.zeros(4, dtype), bytes(32))


def test_other_shapes_and_signs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got uint16 \(2, 2\)"):
        add_mask(np.zeros((2, 2), np.uint16), bytes(32))
    with pytest.raises(ValueError, match="sign must be 1 or -1, got 0"):
        add_mask(zeros(4, 16), bytes(32), sign=0)  # type: ignore[arg-type]
