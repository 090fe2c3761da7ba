"""A keystream is HKDF-SHA256 and ChaCha20 as their RFCs say, read in whatever pieces."""

import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.keystream import MAX_READ_INTO, Keystream

SEEDS = st.binary(min_size=32, max_size=32)


def hkdf_sha256(seed, label):
    """RFC 5869 for one block of output."""
    extracted = hmac.digest(bytes(32), seed, hashlib.sha256)
    return hmac.digest(extracted, label + b"\x01", hashlib.sha256)


def chacha20_block(key, counter):
    """RFC 8439, section 2.3, for a nonce of zeros."""

    def quarter_round(a, b, c, d):
        for x, y, z, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            rotated = state[z] ^ state[x]
            state[z] = (rotated << left | rotated >> (32 - left)) & 0xFFFFFFFF

    initial = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, 0, 0, 0]
    state = list(initial)
    for _ in range(10):
        for column in range(4):
            quarter_round(*range(column, 16, 4))
        for row in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter_round(*row)
    return struct.pack("<16I", *((word + start) & 0xFFFFFFFF for word, start in zip(state, initial, strict=True)))


@given(SEEDS, st.binary(max_size=40))
def test_it_is_what_the_rfcs_say(seed, label):
    key = hkdf_sha256(seed, label)
    assert Keystream(seed, label).read(150) == b"".join(chacha20_block(key, block) for block in range(3))[:150]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_reading_in_pieces_gives_the_same(sizes):
    pieces = Keystream(bytes(32), b"label")
    assert b"".join(map(pieces.read, sizes)) == Keystream(bytes(32), b"label").read(sum(sizes))


@given(st.lists(st.integers(0, 200), max_size=8))
def test_a_buffer_is_filled_with_what_reading_gives(sizes):
    filled, read = Keystream(bytes(32), b"label"), Keystream(bytes(32), b"label")
    for size in sizes:
        buffer = bytearray(b"x" * size)
        filled.read_into(memoryview(buffer))
        assert buffer == read.read(size)


def test_a_buffer_is_filled_whole_or_refused():
    buffer = bytearray(MAX_READ_INTO)
    Keystream(bytes(32), b"label").read_into(memoryview(buffer))
    assert buffer == Keystream(bytes(32), b"label").read(MAX_READ_INTO)
    with pytest.raises(ValueError, match="a buffer must have at most 65536 bytes, got 65537"):
        Keystream(bytes(32), b"label").read_into(memoryview(bytearray(MAX_READ_INTO + 1)))


def test_labels_and_seeds_part_streams():
    streams = [(bytes(32), b"one"), (bytes(32), b"two"), (bytes(31) + b"\x01", b"one")]
    assert len({Keystream(*stream).read(16) for stream in streams}) == 3


@pytest.mark.parametrize("size", [0, 31, 33])
def test_seeds_of_another_length_are_refused(size):
    with pytest.raises(ValueError, match=f"a keystream's seed must have 32 bytes, got {size}"):
        Keystream(bytes(size), b"label")
