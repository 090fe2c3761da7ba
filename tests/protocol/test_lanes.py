"""Lanes wrap as integers modulo 2^value_bits do, whatever the bits above say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.lanes import lane_dtype, signed_values

VALUE_BITS = st.integers(8, 32)


@given(st.data(), VALUE_BITS)
def test_sums_of_lanes_are_sums_of_integers_while_they_fit(data, value_bits):
    largest = 2 ** (value_bits - 1) - 1
    numbers = data.draw(st.lists(st.integers(-(largest // 3), largest // 3), min_size=1, max_size=9))
    bits_above = data.draw(st.integers(0, 2**64 - 1)) << value_bits
    parts = [np.array([number % 2**64], np.uint64).astype(lane_dtype(value_bits)) for number in numbers]
    total = (parts[0] + np.uint64(bits_above % 2**64)).astype(lane_dtype(value_bits))
    for part in parts[1:3]:
        total += part
    assert signed_values(total, value_bits).tolist() == [sum(numbers[:3])]


@given(VALUE_BITS)
def test_the_ends_of_the_range(value_bits):
    half = 2 ** (value_bits - 1)
    lanes = np.array([0, 1, half - 1, half, 2 * half - 1], lane_dtype(value_bits))
    before = lanes.copy()
    assert signed_values(lanes, value_bits).tolist() == [0, 1, half - 1, -half, -1]
    np.testing.assert_array_equal(lanes, before)


@pytest.mark.parametrize(("value_bits", "expected"), [(8, "<u1"), (9, "<u2"), (16, "<u2"), (17, "<u4"), (32, "<u4")])
def test_the_smallest_lane_is_taken(value_bits, expected):
    assert lane_dtype(value_bits) == np.dtype(expected)


@pytest.mark.parametrize("value_bits", [-1, 0, 7, 33])
def test_other_widths_are_refused(value_bits):
    with pytest.raises(ValueError, match=f"value_bits must be 8 to 32, got {value_bits}"):
        lane_dtype(value_bits)


@pytest.mark.parametrize("lanes", [np.zeros(3, np.uint32), np.zeros(3, np.int16), np.zeros((3, 1), np.uint16)])
def test_other_arrays_are_refused(lanes):
    with pytest.raises(ValueError, match="lanes of 12 bits must be a vector of uint16"):
        signed_values(lanes, 12)
