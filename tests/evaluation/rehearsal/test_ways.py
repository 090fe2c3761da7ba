import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.coordination.secure.unmasking import _checked
from aggregation_service.rounds.accumulator import TakenSum
from aggregation_service.rounds.combining import Median, TrimmedMean
from evaluation.rehearsal.attacks import with_norm
from evaluation.rehearsal.ways import (
    PlainMean,
    Robust,
    Secure,
    Sent,
    Way,
    _task,
    cut_evenly,
    encode_forged,
    is_reachable,
)
from protocol.keystream import Keystream
from protocol.lanes import signed_values
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TensorSpec, TrainingParameters
from protocol.secure_aggregation.inputs import encode_input

CLIP_NORM = 0.5
SIZE = 3_000
COHORT = 12
TRAINING = TrainingParameters(batch_size=8, sequence_length=12, local_epochs=1, learning_rate=1.0, max_words=100)
PRIVACY = PrivacyParameters(l2_clip_norm=CLIP_NORM, noise_multiplier=0, report_goal=COHORT, minimum_separation_s=0)
TENSORS = (TensorSpec(name="weights", shape=(SIZE,)),)
PLAIN = Plan(tensors=TENSORS, training=TRAINING, privacy=PRIVACY)
SECURE = Plan(
    tensors=TENSORS,
    training=TRAINING,
    privacy=PRIVACY,
    secure_aggregation=SecureAggregationParameters(value_bits=12, min_members=2, max_members=6),
)


def honest(count: int = COHORT, seed: int = 1) -> list[Sent]:
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal(SIZE)
    updates = (shared + generator.standard_normal(SIZE) for _ in range(count))
    return [Sent(with_norm(update.astype(np.float32), CLIP_NORM), forged=False) for update in updates]


def forged(times: float, seed: int = 9) -> Sent:
    noise = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    return Sent(with_norm(noise, times * CLIP_NORM), forged=True)


def mean(sent: list[Sent]) -> np.ndarray:
    return np.sum([each.update.astype(np.float64) for each in sent], axis=0) / COHORT


def test_the_mean_of_honest_updates_is_their_mean() -> None:
    sent = honest()
    combined = PlainMean().combine(sent, PLAIN, seed=1)
    np.testing.assert_allclose(combined.average, mean(sent), rtol=1e-6, atol=1e-9)
    assert combined.reports == COHORT


def test_int16_is_off_by_its_steps_only() -> None:
    sent = honest()
    combined = PlainMean("int16").combine(sent, PLAIN, seed=1)
    step = max(np.abs(each.update).max() for each in sent) / 32767
    assert np.abs(combined.average - mean(sent)).max() <= step


def test_a_boosted_update_counts_no_more_than_another() -> None:
    sent = [*honest(COHORT - 1), forged(100)]
    clipped = [*sent[:-1], Sent(with_norm(sent[-1].update, CLIP_NORM), forged=False)]
    np.testing.assert_allclose(PlainMean().combine(sent, PLAIN, seed=1).average, mean(clipped), rtol=1e-5, atol=1e-9)
    unchecked = PlainMean(clips_again=False).combine(sent, PLAIN, seed=1).average
    np.testing.assert_allclose(unchecked, mean(sent), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("way", [PlainMean(), PlainMean(clips_again=False), Robust(Median(), "median")])
def test_what_is_not_finite_is_refused(way: Way) -> None:
    bad = Sent(np.full(SIZE, np.nan, np.float32), forged=True)
    combined = way.combine([*honest(COHORT - 1), bad], PLAIN, seed=1)
    assert combined.reports == COHORT - 1
    assert np.isfinite(combined.average).all()
    assert way.combine([bad], PLAIN, seed=1).reports == 0


def test_robust_rules_see_clipped_updates() -> None:
    sent = [*honest(COHORT - 1), forged(100)]
    clipped = np.stack([with_norm(each.update, CLIP_NORM).astype(np.float64) for each in sent])
    median = Robust(Median(), "median").combine(sent, PLAIN, seed=1).average
    np.testing.assert_allclose(median, np.median(clipped, axis=0), atol=1e-7)
    trimmed = Robust(TrimmedMean(trim=0.1), "trimmed mean").combine(sent, PLAIN, seed=1).average
    np.testing.assert_allclose(trimmed, np.sort(clipped, axis=0)[2:-2].mean(axis=0), atol=1e-7)


def test_a_secure_sum_is_off_by_rounding_only() -> None:
    sent = honest()
    combined = Secure(6).combine(sent, SECURE, seed=1)
    assert SECURE.quantiser is not None
    error = np.linalg.norm(combined.average - mean(sent))
    expected = np.sqrt(SIZE / 6 * COHORT) / SECURE.quantiser.scale / COHORT  # docs/update-codec.md, "What is chance"
    assert error == pytest.approx(expected, rel=0.1)
    assert (combined.reports, combined.dropped_groups) == (COHORT, 0)


def test_a_boosted_update_costs_its_group_and_no_other() -> None:
    sent = [*honest(COHORT - 1), forged(100)]
    combined = Secure(6).combine(sent, SECURE, seed=1)
    assert (combined.reports, combined.dropped_groups) == (6, 1)
    np.testing.assert_allclose(combined.average, mean(sent[:6]), atol=0.003)
    alone = Secure(12).combine(sent, SECURE, seed=1)
    assert (alone.reports, alone.dropped_groups) == (0, 1)
    assert not alone.average.any()


def test_an_update_within_what_a_group_leaves_passes_unseen() -> None:
    sent = [*honest(COHORT - 1), forged(3)]
    combined = Secure(6).combine(sent, SECURE, seed=1)
    assert combined.dropped_groups == 0
    np.testing.assert_allclose(combined.average, mean(sent), atol=0.01)


@given(times=st.floats(0.5, 1.5), count=st.integers(1, 6))
def test_the_check_is_the_services(times: float, count: int) -> None:
    total = np.zeros(SIZE)
    total[7] = times * count * SECURE.l2_sensitivity
    assert is_reachable(total, count, SECURE) == isinstance(_checked(total, count, SECURE), TakenSum)


@pytest.mark.parametrize("times", [0.3, 1.0, 4.0, 10_000.0])
def test_forged_lanes_go_as_far_as_lanes_do(times: float) -> None:
    update, task = forged(times).update, _task(3)
    lanes = encode_forged(update, SECURE, task, Keystream(bytes(32), b"test"))
    clipped = encode_input(update, SECURE, task, Keystream(bytes(32), b"test").read)
    values = signed_values(lanes, 12).astype(np.int64)
    wanted = np.rint(signed_values(clipped, 12) * max(1.0, times))
    np.testing.assert_array_less(np.abs(values - wanted.clip(-2047, 2047)), 1.5)
    assert lanes.dtype == clipped.dtype
    if times > 1_000:
        assert set(np.abs(values)) <= {0, 2047}


@given(st.integers(1, 200), st.integers(1, 40))
def test_groups_are_as_even_and_as_few_as_can_be(cohort: int, group_size: int) -> None:
    sent = [Sent(np.full(1, place, np.float32), forged=False) for place in range(cohort)]
    groups = cut_evenly(sent, group_size)
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= group_size
    assert len(groups) == -(-cohort // group_size)
    assert [float(each.update[0]) for group in groups for each in group] == list(range(cohort))
