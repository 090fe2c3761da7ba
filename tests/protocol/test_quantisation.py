"""Whatever the update: integers within their bound, a sum that cannot overflow, and the update's value on average."""

import json
import math
import secrets
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocol.clipping import clip_to_norm
from protocol.errors import NonFiniteUpdate
from protocol.keystream import Keystream
from protocol.lanes import lane_dtype, signed_values
from protocol.quantisation import Quantiser
from protocol.rotation import block_size, rotate, unrotate
from protocol.secure_aggregation.packing import pack

VECTORS = json.loads((Path(__file__).parent / "vectors" / "update_codec.json").read_text(encoding="utf-8"))
SEED = b"s" * 32
FULL_SIZE = 1_422_250


@st.composite
def quantisers(draw, max_length=60):
    value_bits = draw(st.integers(8, 32))
    max_cohort = draw(st.integers(1, min(5000, 2 ** (value_bits - 1) - 1)))
    room = 2 ** (value_bits - 1) - 1 - max_cohort
    return Quantiser(
        l2_clip_norm=draw(st.floats(1e-4, 1e3)),
        value_bits=value_bits,
        max_cohort=max_cohort,
        vector_length=draw(st.integers(1, max_length)),
        noise_room=draw(st.one_of(st.just(0), st.integers(0, room))),
    )


def updates(length):
    return arrays(np.float32, length, elements=st.floats(-1e4, 1e4, width=32))


def encoded_integers(quantiser, update, seed=SEED, random_bytes=secrets.token_bytes):
    values = signed_values(quantiser.encode(update, seed, random_bytes), quantiser.value_bits)
    return [int(value) for value in values]


def drawn(length, draw=0):
    return (np.random.default_rng(draw).standard_t(df=2.5, size=length) * 0.01).astype(np.float32)


@given(st.data(), quantisers(), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_every_encoding_is_within_both_bounds_as_integers(data, quantiser, seed, secret):
    update = data.draw(updates(quantiser.vector_length))
    values = encoded_integers(quantiser, update, seed, lambda _: secret)
    assert max(map(abs, values)) <= quantiser.largest_value
    assert sum(value**2 for value in values) <= quantiser.squared_bound


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_update_made_for_the_rotation_is_bounded(sign):
    """Whoever knows the seed can gather all weight in one coordinate: it loses its own update, not the sum."""
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=12, max_cohort=128, vector_length=1500)
    gathered = np.zeros(1500, np.float32)
    gathered[700] = sign
    values = encoded_integers(quantiser, unrotate(gathered, SEED))
    assert values[700] == sign * 15
    assert quantiser.scale > 100


@given(quantisers(max_length=2**22))
def test_the_bound_in_weight_change_is_that_of_the_integers(quantiser):
    assert Fraction(quantiser.squared_bound) <= (Fraction(quantiser.l2_bound) * Fraction(quantiser.scale)) ** 2
    assert quantiser.l2_bound == pytest.approx(math.sqrt(quantiser.squared_bound) / quantiser.scale, rel=1e-14)
    largest_sum = quantiser.max_cohort * quantiser.largest_value + quantiser.noise_room
    assert largest_sum <= 2 ** (quantiser.value_bits - 1) - 1


@pytest.mark.parametrize(("value_bits", "max_cohort"), [(8, 127), (12, 128), (12, 2047), (16, 1000), (32, 7)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sum_does_not_overflow(value_bits, max_cohort, sign):
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=value_bits, max_cohort=max_cohort, vector_length=1)
    largest = np.array([sign * quantiser.largest_value], np.int64).astype(lane_dtype(value_bits))
    total = np.zeros_like(largest)
    for _ in range(max_cohort):
        total += largest
    expected = sign * max_cohort * quantiser.largest_value / quantiser.scale
    assert abs(quantiser.decode_sum(total, SEED)[0]) == pytest.approx(abs(expected), rel=1e-12)


def test_steps_are_no_finer_than_what_float32_tells_apart():
    finest = Quantiser(l2_clip_norm=1.0, value_bits=32, max_cohort=1, vector_length=FULL_SIZE)
    assert finest.largest_value == 2**20
    assert 2**14 * finest.largest_value**2 < 2**63  # a chunk's squares


def test_a_sum_decodes_to_the_sum():
    quantiser = Quantiser(l2_clip_norm=0.2, value_bits=16, max_cohort=64, vector_length=3000)
    cohort = [drawn(3000, draw) for draw in range(64)]
    total = np.zeros(3000, lane_dtype(16))
    for update in cohort:
        total += quantiser.encode(update, SEED, secrets.token_bytes)
    exact = sum(clip_to_norm(update, 0.2).update.astype(np.float64) for update in cohort)
    rounding = math.sqrt(64 * 3000 / 6) / quantiser.scale  # of 64 uniform fractions in each of 3,000 coordinates
    assert np.linalg.norm(quantiser.decode_sum(total, SEED) - exact) == pytest.approx(rounding, rel=0.1)


@pytest.mark.parametrize("value_bits", [8, 12])
def test_rounding_is_unbiased(value_bits):
    """6,000 encodings: a bias of 0.006 of a step in each coordinate, or 0.0013 along the update, would show."""
    length, repeats = 500, 6000
    quantiser = Quantiser(l2_clip_norm=0.5, value_bits=value_bits, max_cohort=30, vector_length=length)
    update = drawn(length)
    update *= np.float32(0.3 / np.linalg.norm(update))
    total = np.zeros(length, np.int64)
    for repeat in range(repeats):
        secret = repeat.to_bytes(32, "big")
        total += signed_values(quantiser.encode(update, SEED, lambda _, secret=secret: secret), value_bits)
    exact = rotate(update.astype(np.float64), SEED) * quantiser.scale
    fraction = exact - np.floor(exact)
    deviations = (total / repeats - exact) / np.sqrt(fraction * (1 - fraction) / repeats)
    assert np.mean(deviations**2) == pytest.approx(1.0, abs=6 * math.sqrt(2 / length))
    along = (total / repeats - exact) @ exact / np.linalg.norm(exact)
    assert abs(along) < 6 * math.sqrt(0.25 / repeats)


def test_a_rounding_beyond_the_bound_is_drawn_anew():
    """One weight of 13 / 4 steps: 3 with probability 3/4, else 4, whose square of 16 is beyond the bound of 14."""
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=12, max_cohort=157, vector_length=1)
    assert (quantiser.largest_value, quantiser.squared_bound) == (13, 14)
    for _ in range(200):
        assert abs(encoded_integers(quantiser, np.ones(1, np.float32))[0]) == 3


@pytest.mark.parametrize(("value_bits", "max_cohort"), [(12, 128), (16, 1000)])
@pytest.mark.parametrize("kind", ["spread", "one coordinate", "last block only"])
def test_full_size(value_bits, max_cohort, kind):
    """What docs/update-codec.md says of a single update: its error, its bound, how often values are bounded."""
    quantiser = Quantiser(l2_clip_norm=0.5, value_bits=value_bits, max_cohort=max_cohort, vector_length=FULL_SIZE)
    update = {
        "spread": lambda: drawn(FULL_SIZE),
        "one coordinate": lambda: np.eye(1, FULL_SIZE, 1000, dtype=np.float32)[0],
        "last block only": lambda: np.concatenate([np.zeros(block_size(FULL_SIZE), np.float32), drawn(373_674)]),
    }[kind]()
    lanes = quantiser.encode(update, SEED, secrets.token_bytes)
    values = signed_values(lanes, value_bits).astype(np.int64)
    assert int(values @ values) <= quantiser.squared_bound
    assert quantiser.l2_bound < 0.5 * 1.02
    rotated = rotate(clip_to_norm(update, 0.5).update, SEED) * np.float64(quantiser.scale)
    assert np.mean(np.abs(rotated) > quantiser.largest_value) < 1e-4
    error = quantiser.decode_sum(lanes, SEED) - clip_to_norm(update, 0.5).update
    assert np.linalg.norm(error) <= 1.05 * math.sqrt(FULL_SIZE / 6) / quantiser.scale


@given(quantisers())
@settings(max_examples=30)
def test_zero_stays_zero(quantiser):
    zero = np.zeros(quantiser.vector_length, np.float32)
    lanes = quantiser.encode(zero, SEED, secrets.token_bytes)
    np.testing.assert_array_equal(lanes, 0)
    np.testing.assert_array_equal(quantiser.decode_sum(lanes, SEED), 0)


def test_a_longer_update_is_encoded_as_the_clipped_one():
    quantiser = Quantiser(l2_clip_norm=0.1, value_bits=12, max_cohort=128, vector_length=300)
    update = drawn(300)
    clipped = clip_to_norm(update, 0.1)
    assert clipped.was_clipped
    assert encoded_integers(quantiser, update, SEED, bytes) == encoded_integers(quantiser, clipped.update, SEED, bytes)


def test_randomness_is_asked_for_once_and_is_what_rounds():
    quantiser = Quantiser(l2_clip_norm=0.1, value_bits=12, max_cohort=128, vector_length=300)
    asked = []

    def random_bytes(size):
        asked.append(size)
        return secrets.token_bytes(size)

    first, second = (encoded_integers(quantiser, drawn(300), SEED, random_bytes) for _ in range(2))
    assert asked == [32, 32]
    assert first != second


def test_roundings_follow_the_keystream():
    """floor(x + u), u the middle of one of 65,536 parts: by hand, with room enough that no rounding is drawn anew."""
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=16, max_cohort=100, vector_length=40_000)
    update = drawn(40_000)
    update *= np.float32(0.4 / np.linalg.norm(update))
    octets = Keystream(b"r" * 32, b"keychorus rounding v1").read(80_000)
    draws = [int.from_bytes(octets[at : at + 2], "little") for at in range(0, 80_000, 2)]
    scaled = rotate(update, SEED).astype(np.float64) * quantiser.scale
    expected = [math.floor(value + (draw + 0.5) / 65536) for value, draw in zip(scaled, draws, strict=True)]
    assert encoded_integers(quantiser, update, SEED, lambda _: b"r" * 32) == expected


def test_noise_within_its_room_does_not_overflow():
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=12, max_cohort=10, vector_length=1, noise_room=500)
    total = np.array([10 * quantiser.largest_value + 500], np.int64).astype(lane_dtype(12))
    assert abs(quantiser.decode_sum(total, SEED)[0]) == pytest.approx(
        (10 * quantiser.largest_value + 500) / quantiser.scale
    )


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_vectors(case):
    quantiser = Quantiser(**case["quantiser"])
    for name in ("largest_value", "squared_bound", "scale", "l2_bound"):
        assert getattr(quantiser, name) == case[name]
    seed, secret = bytes.fromhex(case["rotation_seed"]), bytes.fromhex(case["rounding_secret"])
    lanes = quantiser.encode(np.array(case["update"], np.float32), seed, lambda _: secret)
    assert lanes.tolist() == case["lanes"]
    assert pack(lanes, quantiser.value_bits).hex() == case["payload"]
    np.testing.assert_allclose(quantiser.decode_sum(lanes, seed), case["decoded"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", VECTORS["encode_refused"], ids=lambda case: str(case["update"]))
def test_updates_that_must_be_refused(case):
    error = {"NonFiniteUpdate": NonFiniteUpdate, "ValueError": ValueError}[case["error"]]
    with pytest.raises(error):
        Quantiser(**case["quantiser"]).encode(np.array(case["update"], np.float32), SEED, secrets.token_bytes)


@pytest.mark.parametrize("case", VECTORS["quantiser_refused"], ids=str)
def test_quantisers_that_must_be_refused(case):
    parameters = {**case, "l2_clip_norm": float(case["l2_clip_norm"])}
    with pytest.raises(ValueError, match="must"):
        Quantiser(**parameters)


@pytest.mark.parametrize("lanes", [np.zeros(2, np.uint16), np.zeros(4, np.uint16), np.zeros(3, np.uint32)])
def test_sums_of_another_form_are_refused(lanes):
    quantiser = Quantiser(l2_clip_norm=1.0, value_bits=12, max_cohort=10, vector_length=3)
    with pytest.raises(ValueError, match="lanes"):
        quantiser.decode_sum(lanes, SEED)
