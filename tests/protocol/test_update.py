"""Updates survive the wire to the bit; whatever is not one is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.update import decode_update, encode_update, encoded_bytes

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(arrays(np.float32, st.integers(0, 40), elements=FINITE))
def test_an_update_survives_the_wire(update):
    payload = encode_update(update)
    assert len(payload) == encoded_bytes(update.size)
    np.testing.assert_array_equal(decode_update(payload, update.size), update)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_on_both_sides(value):
    update = np.array([1, value, 2], dtype=np.float32)
    with pytest.raises(NonFiniteUpdate):
        encode_update(update)
    payload = encode_update(np.zeros(3, np.float32))[:-12] + update.tobytes()
    with pytest.raises(NonFiniteUpdate):
        decode_update(payload, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: b"",
        lambda payload: payload[:5],
        lambda payload: payload[:-1],
        lambda payload: payload + b"\0",
        lambda payload: b"XXXX" + payload[4:],
        lambda payload: payload[:4] + b"\2\0" + payload[6:],
        lambda payload: payload[:6] + b"\7\0" + payload[8:],
        lambda payload: payload[:8] + b"\4\0\0\0" + payload[12:],
    ],
    ids=["empty", "header only", "short", "long", "magic", "version", "format", "count"],
)
def test_damaged_updates_are_refused(damage):
    payload = encode_update(np.arange(3, dtype=np.float32))
    with pytest.raises(MalformedMessage):
        decode_update(damage(payload), 3)


def test_an_update_for_another_plan_is_refused():
    with pytest.raises(MalformedMessage):
        decode_update(encode_update(np.zeros(3, np.float32)), 4)
