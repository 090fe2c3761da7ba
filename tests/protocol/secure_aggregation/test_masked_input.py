"""A masked input survives the wire, and is one member's of one session or nothing."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.lanes import lane_dtype
from protocol.secure_aggregation.errors import WrongSession
from protocol.secure_aggregation.masked_input import encode_masked_input, masked_input_bytes, read_masked_input
from protocol.secure_aggregation.messages import GroupParameters
from protocol.secure_aggregation.packing import pack

SESSION = bytes(range(32))


def make_parameters(value_bits, vector_length):
    return GroupParameters(degree=4, threshold=3, value_bits=value_bits, vector_length=vector_length)


def make_lanes(value_bits, vector_length, seed=0):
    values = np.random.default_rng(seed).integers(0, 2**value_bits, vector_length)
    return values.astype(lane_dtype(value_bits))


@given(value_bits=st.integers(8, 32), vector_length=st.integers(1, 50), sender=st.integers(0, 65_535))
def test_a_masked_input_survives_the_wire(value_bits, vector_length, sender):
    parameters, lanes = make_parameters(value_bits, vector_length), make_lanes(value_bits, vector_length)
    payload = encode_masked_input(lanes, parameters, SESSION, sender)
    assert len(payload) == masked_input_bytes(parameters)
    np.testing.assert_array_equal(read_masked_input(payload, parameters, SESSION, sender), lanes)


def test_the_format_is_the_written_one():
    parameters, lanes = make_parameters(12, 5), make_lanes(12, 5)
    header = struct.pack("<4sHHII32s", b"KCMI", 1, 12, 5, 7, SESSION)
    packed = pack(lanes, 12)
    expected = header + hashlib.sha256(header + packed).digest() + packed
    assert encode_masked_input(lanes, parameters, SESSION, 7) == expected


def test_what_is_above_the_value_bits_is_cut_off():
    parameters, lanes = make_parameters(12, 5), make_lanes(12, 5)
    payload = encode_masked_input(lanes | np.uint16(0xF000), parameters, SESSION, 0)
    np.testing.assert_array_equal(read_masked_input(payload, parameters, SESSION, 0), lanes)


def test_another_member_s_session_s_or_group_s_input_is_refused():
    payload = encode_masked_input(make_lanes(12, 6), make_parameters(12, 6), SESSION, 3)
    with pytest.raises(MalformedMessage, match="must be 4, got 3"):
        read_masked_input(payload, make_parameters(12, 6), SESSION, 4)
    with pytest.raises(WrongSession):
        read_masked_input(payload, make_parameters(12, 6), SESSION[::-1], 3)
    for value_bits, vector_length in ((12, 7), (13, 6), (9, 8)):  # 8 values of 9 bits fill as many bytes
        with pytest.raises(MalformedMessage):
            read_masked_input(payload, make_parameters(value_bits, vector_length), SESSION, 3)
