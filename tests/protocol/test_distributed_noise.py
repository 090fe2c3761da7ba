"""Shares add up to the noise that was asked for, whoever of the assumed members stays, and leave the sum readable."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocol.discrete_gaussian import MAX_TERM, discrete_gaussian
from protocol.distributed_noise import (
    MIN_SHARE_SIGMA,
    NoiseTarget,
    add_share,
    honest_survivors,
    largest_norm,
    least_honest_survivors,
    noise_room,
    share_sigma,
    shared_noise,
    value_bits_needed,
)
from protocol.keystream import Keystream
from protocol.lanes import lane_dtype, signed_values
from protocol.secure_aggregation.sizing import NoSafeGraph, size_group

FULL_SIZE = 1_422_250
SEED = bytes(range(32))


def source(seed=0):
    return Keystream(seed.to_bytes(32, "big"), b"distributed noise tests").read


def target(**changed):
    values = {"noise_multiplier": 1.0, "max_cohort": 10, "num_honest": 8, "vector_length": 1000}
    return NoiseTarget(**{**values, **changed})


@pytest.mark.parametrize(
    ("num_members", "adversary_fraction", "dropout_fraction", "left"),
    [(128, 0.05, 0.1, 128 - 7 - 13), (100, 0.07, 0.29, 64), (10, 0.0, 0.0, 10), (1, 0.0, 0.0, 1), (3, 0.05, 0.1, 1)],
)
def test_honest_survivors_round_both_fractions_up(num_members, adversary_fraction, dropout_fraction, left):
    """0.07 * 100 and 0.29 * 100 in floats are 7.000000000000001 and 28.999999999999996."""
    found = honest_survivors(num_members, adversary_fraction=adversary_fraction, dropout_fraction=dropout_fraction)
    assert found == left


@given(st.integers(2, 500), st.integers(0, 49), st.integers(0, 49))
@settings(max_examples=30)
def test_a_group_that_has_a_safe_graph_has_honest_survivors(num_members, adversary_percent, dropout_percent):
    fractions = {"adversary_fraction": adversary_percent / 100, "dropout_fraction": dropout_percent / 100}
    try:
        size_group(num_members, **fractions)
    except NoSafeGraph:
        assume(False)
    assert 1 <= honest_survivors(num_members, **fractions) <= num_members


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
@pytest.mark.parametrize("name", ["adversary_fraction", "dropout_fraction"])
def test_absurd_fractions_are_refused(name, wrong):
    fractions = {"adversary_fraction": 0.1, "dropout_fraction": 0.1, name: wrong}
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\), got"):
        honest_survivors(10, **fractions)


@pytest.mark.parametrize("num_members", [-1, 0, 1, 2])
def test_a_group_of_which_nobody_is_left_is_refused(num_members):
    with pytest.raises(ValueError, match="num_members must leave an honest member that stays, got"):
        honest_survivors(num_members, adversary_fraction=0.05, dropout_fraction=0.1)


@given(st.floats(0, MAX_TERM, exclude_min=True), st.integers(1, 100_000))
def test_shares_never_add_up_to_less_than_asked_for(deviation, num_honest):
    sigma = share_sigma(deviation, num_honest)
    assert num_honest * sigma**2 >= Fraction(deviation) ** 2
    assert sigma >= MIN_SHARE_SIGMA
    least = max(deviation, float(MIN_SHARE_SIGMA) * math.sqrt(num_honest))
    assert float(sigma) * math.sqrt(num_honest) <= least * (1 + 1e-8)


@pytest.mark.parametrize(("deviation", "num_honest"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)])
def test_absurd_shares_are_refused(deviation, num_honest):
    with pytest.raises(ValueError, match=r"(noise_deviation must be > 0 and <= \d+|num_honest must be >= 1), got"):
        share_sigma(deviation, num_honest)


@pytest.mark.parametrize("value_bits", [12, 16, 24, 32])
def test_a_share_is_added_modulo_two_to_the_bits(value_bits):
    shared = shared_noise(target(vector_length=70_000, noise_multiplier=0.02), l2_clip_norm=1.0, value_bits=value_bits)
    lanes = np.arange(70_000).astype(lane_dtype(value_bits))
    noised = add_share(lanes, shared, source())
    read = source()
    expected = np.concatenate([discrete_gaussian(shared.sigma, size, read) for size in (65_536, 70_000 - 65_536)])
    assert noised.dtype == lanes.dtype
    modulus = 1 << value_bits
    np.testing.assert_array_equal(
        signed_values(noised, value_bits) % modulus, (signed_values(lanes, value_bits) + expected) % modulus
    )
    np.testing.assert_array_equal(lanes, np.arange(70_000).astype(lanes.dtype))


@pytest.mark.parametrize("wrong", [np.zeros(999, "<u2"), np.zeros(1000, "<u4"), np.zeros((1000, 1), "<u2")])
def test_lanes_of_another_form_are_refused(wrong):
    shared = shared_noise(target(), l2_clip_norm=1.0, value_bits=16)
    with pytest.raises(ValueError, match="lanes"):
        add_share(wrong, shared, source())


@pytest.mark.parametrize("num_stayed", [8, 10])
def test_a_group_s_sum_carries_the_noise_that_was_asked_for(num_stayed):
    """Zero updates: the sum is noise alone, and of those who stay when all that may drop out do enough is left."""
    aimed = target(vector_length=20_000, noise_multiplier=0.7)
    shared = shared_noise(aimed, l2_clip_norm=1.0, value_bits=16)
    total = np.zeros(20_000, lane_dtype(16))
    for member in range(num_stayed):
        total += add_share(np.zeros_like(total), shared, source(member))
    noise = signed_values(total, 16) / math.sqrt(shared.quantiser.squared_bound)
    expected = 0.7 * math.sqrt(num_stayed / 8)
    assert abs(noise.std() / expected - 1) < 4 / math.sqrt(2 * noise.size)
    assert scipy.stats.kstest(noise / expected, "norm").pvalue > 1e-4


def test_the_noised_sum_of_real_updates_is_read_as_without_noise():
    aimed = target(noise_multiplier=0.01, vector_length=2000)
    shared = shared_noise(aimed, l2_clip_norm=1.0, value_bits=20)
    generator = np.random.default_rng(0)
    updates = generator.normal(size=(10, 2000)).astype(np.float32)
    updates /= np.linalg.norm(updates, axis=1, keepdims=True)
    total = np.zeros(2000, lane_dtype(20))
    for member, update in enumerate(updates):
        total += add_share(shared.quantiser.encode(update, SEED, source(member)), shared, source(100 + member))
    error = shared.quantiser.decode_sum(total, SEED) - updates.sum(axis=0)
    noise = 0.01 * shared.quantiser.l2_bound * math.sqrt(10 / 8 * 2000)
    assert np.linalg.norm(error) == pytest.approx(noise, rel=0.1)


@given(st.floats(1e-12, 0.9), st.integers(1, 10**6), st.integers(1, 1000))
def test_the_room_is_what_normal_noise_needs(chance, vector_length, max_cohort):
    """Never less than a normal distribution's quantile, and never far more."""
    aimed = target(overflow_chance=chance, vector_length=vector_length, max_cohort=max_cohort, num_honest=1)
    room = noise_room(aimed, Fraction(1000))
    deviation = 1000 * math.sqrt(max_cohort)
    exact = scipy.stats.norm.isf(chance / (2 * vector_length)) * deviation
    assert exact <= room <= exact + 1.2 * deviation


def test_what_leaves_the_room_is_as_rare_as_stated():
    aimed = target(overflow_chance=0.1, vector_length=1, max_cohort=2, num_honest=2)
    sums = sum(discrete_gaussian(Fraction(3, 2), 50_000, source(share)) for share in range(2))
    left = np.count_nonzero(np.abs(sums) > noise_room(aimed, Fraction(3, 2)))
    assert 0 < left < 0.1 * sums.size


@given(st.floats(0.01, 20), st.integers(1, 500), st.integers(1, 100), st.integers(1, 2**22), st.integers(8, 32))
@settings(max_examples=40)
def test_the_finest_quantiser_leaves_room_and_a_finer_one_would_not(z, max_cohort, percent, vector_length, value_bits):
    num_honest = max(1, max_cohort * percent // 100)
    aimed = target(noise_multiplier=z, max_cohort=max_cohort, num_honest=num_honest, vector_length=vector_length)
    try:
        shared = shared_noise(aimed, l2_clip_norm=0.5, value_bits=value_bits)
    except ValueError:
        assume(False)
    quantiser = shared.quantiser
    assert num_honest * shared.sigma**2 >= Fraction(z) ** 2 * quantiser.squared_bound
    assert noise_room(aimed, shared.sigma) <= quantiser.noise_room
    half = 2 ** (value_bits - 1)
    assert max_cohort * quantiser.largest_value + quantiser.noise_room < half
    room = half - 1 - (quantiser.largest_value + 1) * max_cohort
    if quantiser.largest_value < 2**20 and room >= 0:
        finer = replace(quantiser, noise_room=room)
        deviation = z * math.sqrt(finer.squared_bound)
        assert deviation > MAX_TERM or noise_room(aimed, share_sigma(deviation, num_honest)) > room


@pytest.mark.parametrize(
    ("noise_multiplier", "value_bits"), [(0.5, 16), (1.0, 17), (2.0, 17), (4.0, 18), (8.35, 20), (16.0, 20)]
)
def test_bits_for_128_members_of_a_full_size_model(noise_multiplier, value_bits):
    """With 5 % corrupt and 10 % dropping out; by hand: 2^(b - 1) > 128 L + 9.23 z sqrt(K) sqrt(128 / 108)."""
    num_honest = honest_survivors(128, adversary_fraction=0.05, dropout_fraction=0.1)
    aimed = target(noise_multiplier=noise_multiplier, max_cohort=128, num_honest=num_honest, vector_length=FULL_SIZE)
    assert value_bits_needed(aimed) == value_bits
    quantiser = shared_noise(aimed, l2_clip_norm=1.0, value_bits=value_bits).quantiser
    tail = math.sqrt(2 * math.log(2 * FULL_SIZE * 2**40))
    noise = tail * noise_multiplier * math.sqrt(quantiser.squared_bound * 128 / num_honest)
    assert 128 * quantiser.largest_value + noise == pytest.approx(2 ** (value_bits - 1), rel=0.1)
    assert quantiser.l2_bound <= 1.02
    fewer = shared_noise(aimed, l2_clip_norm=1.0, value_bits=value_bits - 1)
    assert fewer.quantiser.l2_bound > 1.02


def test_too_few_bits_are_refused():
    aimed = target(max_cohort=128, num_honest=100, vector_length=FULL_SIZE, noise_multiplier=8.35)
    with pytest.raises(ValueError, match=r"value_bits must leave noise of 8.35 norms room, got 12"):
        shared_noise(aimed, l2_clip_norm=1.0, value_bits=12)
    with pytest.raises(ValueError, match="32 bits must suffice for"):
        value_bits_needed(replace(aimed, noise_multiplier=1e6))
    with pytest.raises(ValueError, match="max_inflation must be > 0, got 0"):
        value_bits_needed(aimed, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": math.inf},
        {"num_honest": 0},
        {"num_honest": 11},
        {"max_cohort": 0},
        {"vector_length": 0},
        {"overflow_chance": 0.0},
        {"overflow_chance": 1.0},
        {"overflow_chance": math.nan},
    ],
    ids=str,
)
def test_absurd_targets_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        target(**change)


@given(st.integers(2, 40), st.integers(0, 60), st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=60)
def test_no_group_that_may_form_has_fewer_honest_survivors(smallest, more, adversary_percent, dropout_percent):
    """By counting: the sum has `min_members`, and all but the drop-outs; the corrupt are all among them."""
    fractions = {"adversary_fraction": adversary_percent / 100, "dropout_fraction": dropout_percent / 100}
    least = []
    for members in range(smallest, smallest + more + 1):
        corrupt, dropped = -(-adversary_percent * members // 100), -(-dropout_percent * members // 100)
        in_sum = next(count for count in range(members + 1) if count >= smallest and count >= members - dropped)
        least.append(in_sum - corrupt)
    assume(min(least) >= 1)
    assert least_honest_survivors(smallest, smallest + more, **fractions) == min(least)


def test_one_more_member_may_leave_one_fewer():
    fractions = {"adversary_fraction": 0.05, "dropout_fraction": 0.1}
    assert honest_survivors(20, **fractions) == 17
    assert honest_survivors(21, **fractions) == 16
    assert least_honest_survivors(18, 21, **fractions) == 16


@pytest.mark.parametrize(("smallest", "largest"), [(0, 5), (6, 5), (-1, -1)])
def test_groups_without_a_size_are_refused(smallest, largest):
    with pytest.raises(ValueError, match="min_members must be 1 to max_members"):
        least_honest_survivors(smallest, largest, adversary_fraction=0.0, dropout_fraction=0.0)


@pytest.mark.parametrize("num_shares", [8, 10])
@pytest.mark.parametrize("noise_multiplier", [0.1, 4.0])
def test_no_sum_of_honest_members_is_longer_than_is_checked(num_shares, noise_multiplier):
    """All updates alike and at full length, the worst; drawn often, with a bound that one in 50 may exceed."""
    shared = shared_noise(target(noise_multiplier=noise_multiplier), l2_clip_norm=0.5, value_bits=20)
    draws = source(num_shares)
    update = np.full(1000, 0.5 / math.sqrt(1000), np.float32)
    norms = []
    for _ in range(20):
        lanes = [add_share(shared.quantiser.encode(update, SEED, draws), shared, draws) for _ in range(num_shares)]
        norms.append(np.linalg.norm(shared.quantiser.decode_sum(np.sum(lanes, axis=0, dtype=np.uint32), SEED)))
    assert max(norms) <= largest_norm(shared, num_shares, chance=0.02) < largest_norm(shared, num_shares)
    assert largest_norm(shared, num_shares) < 1.5 * np.mean(norms), "or no boosted update would ever be seen"


def test_noise_that_is_asked_for_too_narrow_is_made_wider():
    """Shares of a deviation below 3 would need a bound of their own."""
    shared = shared_noise(target(noise_multiplier=1e-4), l2_clip_norm=1.0, value_bits=16)
    assert shared.sigma == MIN_SHARE_SIGMA == 3
    assert shared.deviation(8) > 1e-4 * shared.quantiser.l2_bound
