"""Packed values are one little-endian number, read strictly."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.lanes import lane_dtype
from protocol.secure_aggregation.packing import pack, packed_bytes, unpack

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "update_codec.json").read_text(encoding="utf-8"))
VALUE_BITS = st.integers(8, 32)


def drawn(length, value_bits, draw=0):
    return np.random.default_rng(draw).integers(0, 2**value_bits, length, np.uint64).astype(lane_dtype(value_bits))


def as_number(lanes, value_bits):
    return sum(int(value) << (index * value_bits) for index, value in enumerate(lanes))


@given(VALUE_BITS, st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_a_payload_is_the_number_that_the_values_are_the_digits_of(value_bits, length, draw):
    lanes = drawn(length, value_bits, draw)
    payload = pack(lanes, value_bits)
    assert len(payload) == packed_bytes(length, value_bits) == -(-length * value_bits // 8)
    assert int.from_bytes(payload, "little") == as_number(lanes, value_bits)
    unpacked = unpack(payload, length, value_bits)
    assert unpacked.dtype == lane_dtype(value_bits)
    np.testing.assert_array_equal(unpacked, lanes)


@pytest.mark.parametrize("value_bits", [9, 12, 16, 23])
@pytest.mark.parametrize("length", [2**15 - 1, 2**15, 2**15 + 1, 100_003])
def test_long_vectors_come_back(value_bits, length):
    lanes = drawn(length, value_bits)
    np.testing.assert_array_equal(unpack(memoryview(pack(lanes, value_bits)), length, value_bits), lanes)


@pytest.mark.parametrize("value_bits", [9, 12, 16])
def test_eight_values_at_a_time_make_the_same_payload(value_bits):
    lanes = drawn(101, value_bits)
    assert b"".join(pack(lanes[start : start + 8], value_bits) for start in range(0, 101, 8)) == pack(lanes, value_bits)


def test_bits_above_are_not_written():
    lanes = drawn(50, 12)
    np.testing.assert_array_equal(unpack(pack(lanes | np.uint16(0xF000), 12), 50, 12), lanes)


def test_a_view_of_the_payload_cannot_change_it():
    assert not unpack(bytes(8), 4, 16).flags.writeable


def test_a_full_size_update_in_12_bits():
    assert packed_bytes(1_422_250, 12) == 2_133_375


@pytest.mark.parametrize("case", VECTORS["pack"], ids=lambda case: f"{case['value_bits']} bits")
def test_vectors(case):
    lanes = np.array(case["lanes"], lane_dtype(case["value_bits"]))
    assert pack(lanes, case["value_bits"]).hex() == case["payload"]
    unpacked = unpack(bytes.fromhex(case["payload"]), len(lanes), case["value_bits"])
    np.testing.assert_array_equal(unpacked, lanes)


@pytest.mark.parametrize("case", VECTORS["unpack_refused"], ids=lambda case: case["why"])
def test_vectors_that_must_fail(case):
    with pytest.raises(MalformedMessage):
        unpack(bytes.fromhex(case["payload"]), case["length"], case["value_bits"])


@given(st.integers(9, 31), st.integers(1, 70), st.data())
def test_another_payload_is_another_vector_or_refused(value_bits, length, data):
    payload = bytearray(pack(drawn(length, value_bits), value_bits))
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8
    if bit >= length * value_bits:
        with pytest.raises(MalformedMessage, match="last byte"):
            unpack(bytes(payload), length, value_bits)
    else:
        assert pack(unpack(bytes(payload), length, value_bits), value_bits) == payload


def test_lanes_of_another_type_are_refused():
    with pytest.raises(ValueError, match="lanes of 12 bits must be"):
        pack(np.zeros(4, np.uint32), 12)
