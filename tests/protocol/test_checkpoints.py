"""Differences of checkpoints: both sides come to the same bits, and hostile bytes are refused."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoints import BLOCK_SIZE, apply_difference, difference_bytes, make_difference
from protocol.errors import MalformedMessage, WrongContent
from protocol.plan import TensorSpec
from protocol.weights import decode_checkpoint, encode_checkpoint, encode_served, flatten

SPECS = (TensorSpec(name="kernel", shape=(17, 19)), TensorSpec(name="bias", shape=(5,)))
NUM_WEIGHTS = 17 * 19 + 5
HEADER_BYTES = 12
VECTOR = json.loads((Path(__file__).parent / "vectors" / "checkpoint_difference.json").read_text())


def drawn(generator, scale=1.0):
    return {spec.name: (scale * generator.normal(size=spec.shape)).astype(np.float32) for spec in SPECS}


def moved(weights, generator, scale):
    return {
        name: value + movement
        for (name, value), movement in zip(weights.items(), drawn(generator, scale).values(), strict=True)
    }


@pytest.fixture
def generator():
    return np.random.default_rng(5)


@pytest.fixture
def weights(generator):
    return drawn(generator, 0.1)


@pytest.fixture
def base(weights):
    return encode_served(weights)


@pytest.fixture
def difference(weights, base, generator):
    return make_difference(moved(weights, generator, 0.01), base).difference


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 10), st.floats(0, 10))
def test_whoever_holds_the_base_comes_to_the_served_bits(seed, scale, movement):
    generator = np.random.default_rng(seed)
    weights = drawn(generator, scale)
    made = make_difference(moved(weights, generator, movement), encode_served(weights))
    assert apply_difference(encode_served(weights), made.difference) == made.served
    assert len(made.difference) == difference_bytes(NUM_WEIGHTS)


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 1))
def test_error_is_half_a_step_of_the_movement_and_half_a_float16(seed, movement):
    generator = np.random.default_rng(seed)
    weights = drawn(generator)
    base = encode_served(weights)
    exact = moved(weights, generator, movement)
    served = decode_checkpoint(make_difference(exact, base).served, SPECS)
    largest = max(np.abs(exact[name] - decode_checkpoint(base, SPECS)[name]).max() for name in exact)
    for name, value in exact.items():
        last_place = np.spacing(np.abs(served[name]).astype(np.float16)).astype(np.float64)
        error = np.abs(served[name].astype(np.float64) - value)
        assert (error <= 1.001 * (largest / 254 + last_place / 2)).all()


def test_error_in_relation_to_the_movement(generator, weights, base):
    """8 bits cost under 1 % of the movement since the base, where that is well above float16's own steps."""
    exact = moved(weights, generator, 0.05)
    served = decode_checkpoint(make_difference(exact, base).served, SPECS)
    start, end = flatten(decode_checkpoint(base, SPECS), SPECS), flatten(exact, SPECS)
    error = np.linalg.norm(flatten(served, SPECS) - end) / np.linalg.norm(end - start)
    assert 0.001 < error < 0.01


def test_a_served_checkpoint_is_float16_and_reads_as_float32(weights, base):
    read = decode_checkpoint(base, SPECS)
    for name, value in weights.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], value.astype(np.float16).astype(np.float32))
    assert len(base) < 0.6 * len(encode_checkpoint(weights))


def test_no_movement_gives_the_base_itself(base):
    made = make_difference(decode_checkpoint(base, SPECS), base)
    assert made.served == base
    assert made.difference[HEADER_BYTES:] == bytes(len(made.difference) - HEADER_BYTES)


def test_movements_below_float32s_normal_numbers_count_as_none(base):
    weights = decode_checkpoint(base, SPECS)
    weights["bias"] = weights["bias"] * 0 + np.float32(1e-39)
    still = encode_served({**weights, "bias": weights["bias"] * 0})
    made = make_difference(weights, still)
    assert apply_difference(still, made.difference) == made.served == still


def test_arithmetic_is_that_of_an_oracle_in_plain_python(base, difference):
    """Python's doubles, rounded to float32 after each operation and to float16 at the end."""

    def single(value):
        return struct.unpack("<f", struct.pack("<f", value))[0]

    data = base[-2 * NUM_WEIGHTS :]
    start = struct.unpack(f"<{NUM_WEIGHTS}e", data)
    num_blocks = -(-NUM_WEIGHTS // BLOCK_SIZE)
    scales = struct.unpack_from(f"<{num_blocks}f", difference, HEADER_BYTES)
    integers = struct.unpack_from(f"<{NUM_WEIGHTS}b", difference, HEADER_BYTES + 4 * num_blocks)
    ends = [
        single(before + single(integer * scales[place // BLOCK_SIZE]))
        for place, (before, integer) in enumerate(zip(start, integers, strict=True))
    ]
    expected = base[: -2 * NUM_WEIGHTS] + struct.pack(f"<{NUM_WEIGHTS}e", *ends)
    assert apply_difference(base, difference) == expected


def test_vector():
    served = apply_difference(bytes.fromhex(VECTOR["base"]), bytes.fromhex(VECTOR["difference"]))
    assert served.hex() == VECTOR["served"]
    assert hashlib.sha256(served).hexdigest() == VECTOR["served_sha256"]


@pytest.mark.parametrize("refused", VECTOR["refused"], ids=[refused["why"] for refused in VECTOR["refused"]])
def test_vectors_that_must_fail(refused):
    base, difference = (bytes.fromhex(refused.get(name, VECTOR[name])) for name in ("base", "difference"))
    with pytest.raises(MalformedMessage):
        apply_difference(base, difference)


@given(st.binary(max_size=600))
def test_any_bytes_are_applied_or_refused(noise):
    base = bytes.fromhex(VECTOR["base"])
    for arguments in ((base, noise), (noise, bytes.fromhex(VECTOR["difference"]))):
        with pytest.raises(MalformedMessage):
            apply_difference(*arguments)


@given(st.data())
def test_a_changed_byte_is_refused_or_gives_finite_weights(data):
    difference = bytearray.fromhex(VECTOR["difference"])
    difference[data.draw(st.integers(0, len(difference) - 1))] ^= data.draw(st.integers(1, 255))
    base = bytes.fromhex(VECTOR["base"])
    try:
        served = apply_difference(base, bytes(difference))
    except MalformedMessage:
        return
    assert len(served) == len(base)
    assert np.isfinite(np.frombuffer(served[-2 * VECTOR["num_weights"] :], "<f2")).all()


def test_another_models_base_is_refused(weights, base):
    other = encode_served({"bias": weights["bias"]})
    with pytest.raises(MalformedMessage, match="same tensors"):
        make_difference(weights, other)
    with pytest.raises(MalformedMessage, match="float16"):
        make_difference(weights, encode_checkpoint(weights))


def test_weights_beyond_float16_are_refused(weights, base):
    far = {**weights, "bias": np.full_like(weights["bias"], 70_000)}
    with pytest.raises(WrongContent, match="bias must be within"):
        encode_served(far)
    with pytest.raises(WrongContent, match="65504"):
        make_difference(far, base)


def test_full_size_download_is_below_one_and_a_half_megabytes():
    """The figure of the issue: what a round costs whoever holds the base."""
    full = {"embedding": np.zeros((10_000, 96), np.float32), "rest": np.zeros(462_250, np.float32)}
    base = encode_served(full)
    made = make_difference(full, base)
    assert len(base) == pytest.approx(2.84e6, rel=0.01)
    assert len(made.difference) == difference_bytes(1_422_250) < 1_500_000
