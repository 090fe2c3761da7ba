"""The rotation is the product of two Hadamard matrices with random signs, keeps norms and spreads anything."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag, hadamard

from protocol.errors import NonFiniteUpdate
from protocol.keystream import Keystream
from protocol.rotation import block_size, rotate, unrotate

VECTORS = json.loads((Path(__file__).parent / "vectors" / "update_codec.json").read_text(encoding="utf-8"))
SEEDS = st.binary(min_size=32, max_size=32)
FULL_SIZE = 1_422_250
SEED_OF_EQUAL_SIGNS = bytes([6]) * 32  # for blocks of two, so that two large weights add up


def dense_rotation(num_weights, seed):
    """The whole matrix, from scipy's Hadamard matrices and the bits one by one."""
    block = 2 ** int(math.log2(num_weights))
    octets = (block + 7) // 8
    stream = Keystream(seed, b"keychorus rotation v1").read(2 * octets)
    first, last = (
        [1 - 2 * (part[index // 8] >> index % 8 & 1) for index in range(block)]
        for part in (stream[:octets], stream[octets:])
    )
    rest = np.eye(num_weights - block)
    transform = hadamard(block) / math.sqrt(block)
    return block_diag(rest, transform * last) @ block_diag(transform * first, rest)


@given(st.integers(1, 300), SEEDS, st.integers(0, 2**32 - 1))
def test_it_is_the_product_of_its_matrices(num_weights, seed, draw):
    update = np.random.default_rng(draw).normal(size=num_weights)
    expected = dense_rotation(num_weights, seed) @ update
    np.testing.assert_allclose(rotate(update, seed), expected, atol=1e-12)
    np.testing.assert_allclose(rotate(update.astype(np.float32), seed), expected, atol=2e-5)


@pytest.mark.parametrize("num_weights", [2048, 40_000, 2**17 - 1])
def test_large_blocks_have_the_entries_of_a_hadamard_matrix(num_weights):
    block = block_size(num_weights)
    position = block - 1 - num_weights // 3
    unit = np.zeros(num_weights)
    unit[position] = 1.0
    once = rotate(unit, bytes(32))[: num_weights - block]  # what the second transform leaves alone
    signs = [(-1) ** (row & position).bit_count() for row in range(num_weights - block)]
    assert set((once * signs * math.sqrt(block)).round(9)) in ({1.0}, {-1.0}, set())
    assert np.linalg.norm(rotate(unit, bytes(32))) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("num_weights", [1, 2, 3, 31, 32, 33, 1023, 1024, 5000, 2**16, FULL_SIZE])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_it_keeps_norms_and_has_an_inverse(num_weights, dtype, tolerance):
    update = np.random.default_rng(3).standard_t(df=2.5, size=num_weights).astype(dtype)
    before = update.copy()
    rotated = rotate(update, b"s" * 32)
    assert rotated.dtype == dtype
    norm = np.linalg.norm(update.astype(np.float64))
    assert np.linalg.norm(rotated.astype(np.float64)) == pytest.approx(norm, rel=max(tolerance, 1e-13))
    assert np.linalg.norm(unrotate(rotated, b"s" * 32).astype(np.float64) - update) <= tolerance * norm
    np.testing.assert_array_equal(update, before)


@pytest.mark.parametrize("position", [0, 700_000, FULL_SIZE - 1])
def test_one_coordinate_is_spread_over_all_of_its_block(position):
    update = np.zeros(FULL_SIZE, np.float32)
    update[position] = 1.0
    rotated = rotate(update, b"s" * 32)
    assert np.count_nonzero(rotated) >= 0.99 * block_size(FULL_SIZE)
    assert np.abs(rotated).max() * math.sqrt(block_size(FULL_SIZE)) < 6.0  # 2e-8 of a million by the stated bound


def test_the_tail_is_as_stated_over_seeds():
    update = np.array([3.0, -1.0, 0.0, 0.5, 2.0, 0.0, 0.0])  # B = 4
    largest = np.linalg.norm(update) / math.sqrt(block_size(update.size))
    rotated = np.stack([rotate(update, index.to_bytes(32, "big")) for index in range(4000)])
    for deviations in (1.5, 2.0, 2.5):
        beyond = (np.abs(rotated) > deviations * largest).mean(axis=0)
        assert (beyond <= 2 * math.exp(-(deviations**2) / 2)).all()
    assert np.abs(rotated.mean(axis=0)).max() < 5 * largest / math.sqrt(4000)


def test_another_seed_is_another_rotation():
    update = np.ones(64)
    assert not np.allclose(rotate(update, bytes(32)), rotate(update, b"s" * 32))


@pytest.mark.parametrize("case", VECTORS["rotate"], ids=lambda case: f"{len(case['update'])} weights")
def test_vectors(case):
    seed = bytes.fromhex(case["seed"])
    np.testing.assert_allclose(rotate(np.array(case["update"]), seed), case["rotated"], atol=1e-12)
    np.testing.assert_allclose(unrotate(np.array(case["rotated"]), seed), case["update"], atol=1e-12)


@pytest.mark.parametrize("size", [0, 5])
def test_zero_and_nothing_stay(size):
    np.testing.assert_array_equal(rotate(np.zeros(size, np.float32), bytes(32)), np.zeros(size))
    np.testing.assert_array_equal(unrotate(np.zeros(size, np.float32), bytes(32)), np.zeros(size))


@pytest.mark.parametrize("values", [[0, np.nan, 0], [np.inf, 0, 0], [0, 0, -np.inf], [3e38, 3e38, 3e38]])
@pytest.mark.parametrize("turn", [rotate, unrotate])
def test_what_is_not_finite_never_passes(turn, values):
    with pytest.raises(NonFiniteUpdate):
        turn(np.array(values, np.float32), SEED_OF_EQUAL_SIGNS)


@pytest.mark.parametrize("turn", [rotate, unrotate])
def test_seeds_of_another_length_are_refused(turn):
    with pytest.raises(ValueError, match="seed must have 32 bytes, got 31"):
        turn(np.zeros(3), bytes(31))
