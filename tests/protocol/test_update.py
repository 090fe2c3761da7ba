"""Updates survive the wire, to the bit or to the format's step; whatever is not one is refused."""

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocol.clipping import l2_norm
from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.update import decode_update, encode_update, encoded_bytes, read_update

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
FORMATS = ("float32", "int16")


@given(arrays(np.float32, st.integers(0, 40), elements=FINITE))
def test_an_update_survives_the_wire(update):
    payload = encode_update(update)
    assert len(payload) == encoded_bytes(update.size)
    np.testing.assert_array_equal(decode_update(payload, update.size), update)


@given(arrays(np.float32, st.integers(0, 40), elements=FINITE))
@example(np.array([3.4e38, -3.4e38, 1.0], np.float32))
@example(np.array([1e-45, 0, 0], np.float32))
@example(np.full(40, 0.3, np.float32))
def test_16_bits_keep_an_update_to_a_step_and_never_make_it_longer(update):
    payload = encode_update(update, "int16")
    assert len(payload) == encoded_bytes(update.size, "int16") == 16 + 2 * update.size
    values, scale = read_update(payload, update.size, "int16")
    read = values.astype(np.float64) * scale
    largest = float(np.abs(update).max(initial=0))
    step = largest / 32767
    assert np.linalg.norm(read) <= l2_norm(update) * (1 + 1e-12)
    # Half a step for the rounding, and the scale may have shrunk by as much relative to the norm.
    assert np.abs(read - update).max(initial=0) <= step * (0.5 + np.sqrt(update.size)) + 32767 * 2.0**-126
    np.testing.assert_allclose(decode_update(payload, update.size, "int16"), read, rtol=1e-6, atol=1e-45)


def test_16_bits_of_a_typical_update_lose_a_part_in_ten_thousand():
    update = np.random.default_rng(1).normal(size=100_000).astype(np.float32) * 1e-3
    read = decode_update(encode_update(update, "int16"), update.size, "int16")
    assert l2_norm(read - update) < 1e-4 * l2_norm(update)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_on_both_sides(value):
    update = np.array([1, value, 2], dtype=np.float32)
    for value_format in FORMATS:
        with pytest.raises(NonFiniteUpdate):
            encode_update(update, value_format)
    payload = encode_update(np.zeros(3, np.float32))[:-12] + update.tobytes()
    with pytest.raises(NonFiniteUpdate):
        decode_update(payload, 3)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, -1.0, -1e-45])
def test_a_scale_that_is_no_size_is_refused(scale):
    payload = encode_update(np.ones(3, np.float32), "int16")
    with pytest.raises(NonFiniteUpdate, match="scale must be a finite number >= 0"):
        read_update(payload[:12] + struct.pack("<f", scale) + payload[16:], 3, "int16")


def test_a_scale_that_overflows_float32_is_refused_where_float32_is_wanted():
    payload = encode_update(np.ones(3, np.float32), "int16")
    with pytest.raises(NonFiniteUpdate):
        decode_update(payload[:12] + struct.pack("<f", 3e38) + payload[16:], 3, "int16")


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: b"",
        lambda payload: payload[:5],
        lambda payload: payload[:13],
        lambda payload: payload[:-1],
        lambda payload: payload + b"\0",
        lambda payload: b"XXXX" + payload[4:],
        lambda payload: payload[:4] + b"\2\0" + payload[6:],
        lambda payload: payload[:6] + b"\7\0" + payload[8:],
        lambda payload: payload[:8] + b"\4\0\0\0" + payload[12:],
    ],
    ids=["empty", "header only", "scale cut", "short", "long", "magic", "version", "format", "count"],
)
def test_damaged_updates_are_refused(damage, value_format):
    payload = encode_update(np.arange(3, dtype=np.float32), value_format)
    with pytest.raises(MalformedMessage):
        decode_update(damage(payload), 3, value_format)


def test_an_update_for_another_plan_is_refused():
    with pytest.raises(MalformedMessage):
        decode_update(encode_update(np.zeros(3, np.float32)), 4)


@pytest.mark.parametrize(("sent", "wanted", "sizes"), [("float32", "int16", (2, 2)), ("int16", "float32", (2, 2))])
def test_another_format_than_the_plans_is_refused(sent, wanted, sizes):
    with pytest.raises(MalformedMessage):
        read_update(encode_update(np.zeros(sizes[0], np.float32), sent), sizes[1], wanted)


def test_another_format_of_the_same_length_is_refused():
    """Three float32 weights are as long as four int16 weights with their scale."""
    payload = encode_update(np.zeros(3, np.float32))
    assert len(payload) == encoded_bytes(4, "int16")
    with pytest.raises(MalformedMessage, match="update must be of format int16, version 1"):
        read_update(payload, 4, "int16")


def test_reading_copies_nothing():
    payload = encode_update(np.ones(1000, np.float32), "int16")
    values, _scale = read_update(payload, 1000, "int16")
    assert np.shares_memory(values, np.frombuffer(payload, np.uint8))
    assert not values.flags.writeable
