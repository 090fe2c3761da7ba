"""Checkpoints hold exactly the plan's tensors; flattening and cutting are inverse."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WrongContent
from protocol.plan import TensorSpec
from protocol.weights import decode_checkpoint, encode_checkpoint, flatten, unflatten

SPECS = (TensorSpec(name="kernel", shape=(2, 3)), TensorSpec(name="bias", shape=(3,)))
WEIGHTS = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([7, 8, 9], dtype=np.float32)}


def test_a_checkpoint_survives_the_wire_and_has_one_encoding():
    decoded = decode_checkpoint(encode_checkpoint(WEIGHTS), SPECS)
    assert list(decoded) == ["kernel", "bias"]
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(decoded[name], value)
    assert encode_checkpoint(dict(reversed(WEIGHTS.items()))) == encode_checkpoint(WEIGHTS)


@pytest.mark.parametrize(
    "weights",
    [
        {"kernel": WEIGHTS["kernel"]},
        {**WEIGHTS, "more": WEIGHTS["bias"]},
        {**WEIGHTS, "bias": np.zeros(4, np.float32)},
        {**WEIGHTS, "bias": np.zeros((3, 1), np.float32)},
        {**WEIGHTS, "bias": np.zeros(3, np.float64)},
        {**WEIGHTS, "bias": np.array([1, np.nan, 1], np.float32)},
        {**WEIGHTS, "bias": np.array([1, np.inf, 1], np.float32)},
    ],
)
def test_tensors_that_do_not_fit_the_plan_are_refused(weights):
    with pytest.raises(WrongContent):
        decode_checkpoint(safetensors.numpy.save(weights), SPECS)


@given(st.integers(0, 10_000), st.binary(max_size=64))
def test_damaged_files_give_a_typed_error_or_the_whole_tensors(cut, garbage):
    payload = encode_checkpoint(WEIGHTS)
    place = cut % len(payload)
    damaged = payload[:place] + garbage
    try:
        decoded = decode_checkpoint(damaged, SPECS)
    except WrongContent:
        return
    assert {name: value.shape for name, value in decoded.items()} == {"kernel": (2, 3), "bias": (3,)}


def test_flattening_follows_the_plans_order():
    vector = flatten(WEIGHTS, SPECS)
    np.testing.assert_array_equal(vector, np.array([0, 1, 2, 3, 4, 5, 7, 8, 9], dtype=np.float32))
    back = unflatten(vector, SPECS)
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("size", [0, 8, 10])
def test_a_vector_of_another_length_is_refused(size):
    with pytest.raises(WrongContent):
        unflatten(np.zeros(size, np.float32), SPECS)
