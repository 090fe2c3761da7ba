"""A noise plan, against the ledger that its rounds would leave, a simulation of its noise, and published figures."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import CorrelatedSumReleased, GaussianSumReleased, LedgerEvent
from aggregation_service.privacy.mechanisms.parameters import Independent, Tree
from aggregation_service.privacy.mechanisms.streams import NoiseStream
from aggregation_service.privacy.planning import (
    MECHANISM_KINDS,
    Choices,
    Deployment,
    MechanismKind,
    NoisePlan,
    Schedule,
    choose_mechanism,
    error_by_round,
    plan_noise,
    vectors_kept,
)
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.parameters import RoundParameters
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters

SMALL = Deployment(
    devices=400, cohort=40, rounds=24, separation_rounds=7, epsilon=3.0, delta=1e-6, l2_clip_norm=0.5, num_weights=3_000
)


def planned(kind: MechanismKind, deployment: Deployment) -> NoisePlan:
    return plan_noise(choose_mechanism(kind, deployment.schedule, Choices(bands=5)), deployment)


def ledger(plan: NoisePlan, deployment: Deployment, noise_multiplier: float) -> Iterator[LedgerEvent]:
    """What a service books that trains by the plan, with a device that takes part as soon as it may."""
    privacy = PrivacyParameters(
        l2_clip_norm=deployment.l2_clip_norm,
        noise_multiplier=noise_multiplier,
        report_goal=deployment.cohort,
        minimum_separation_s=0.0,
    )
    training = TrainingParameters(batch_size=1, sequence_length=1, local_epochs=1, learning_rate=1.0, max_words=1)
    tensors = (TensorSpec(name="weights", shape=(deployment.num_weights,)),)
    noise = sum_noise(Plan(tensors=tensors, training=training, privacy=privacy), RoundParameters(minimum_reports=1))
    for step in range(deployment.rounds):
        taken = min(1 + step // deployment.separation_rounds, deployment.participations)
        facts: dict[str, Any] = {"round_id": f"{step:032x}", "model_version": step, "num_reports": deployment.cohort}
        facts |= {"max_participations": taken}
        if isinstance(plan.mechanism, Independent):
            numbers = {"noise_multiplier": noise.noise_multiplier, "l2_clip_norm": noise.one_report}
            yield GaussianSumReleased(**facts, **numbers)
            continue
        multiplier, norm = noise.in_stream(plan.mechanism, step + 1)
        yield CorrelatedSumReleased(
            **facts,
            task_id=1,
            step=step,
            mechanism=plan.mechanism,
            stream_participations=taken,
            min_separation=deployment.separation_rounds if taken > 1 else 1,
            noise_multiplier=multiplier,
            l2_clip_norm=norm,
        )


@pytest.mark.parametrize("kind", MECHANISM_KINDS)
@settings(max_examples=12, deadline=None)
@given(
    rounds=st.integers(1, 40),
    separation=st.integers(1, 10),
    limit=st.integers(0, 4),
    epsilon=st.floats(0.2, 20),
    clip=st.floats(1e-3, 50),
)
def test_the_ledger_of_all_planned_rounds_stays_just_within_epsilon(
    *, kind: MechanismKind, rounds: int, separation: int, limit: int, epsilon: float, clip: float
) -> None:
    changes = {"rounds": rounds, "separation_rounds": separation, "participation_limit": limit}
    changes |= {"epsilon": epsilon, "l2_clip_norm": clip}
    deployment = msgspec.structs.replace(SMALL, **changes)
    plan = planned(kind, deployment)
    spent = spent_on_worst_device(ledger(plan, deployment, plan.noise_multiplier), deployment.delta)
    assert 0.99 * epsilon < spent.epsilon <= epsilon
    assert spent.epsilon == pytest.approx(plan.epsilon, rel=1e-6)
    less = spent_on_worst_device(ledger(plan, deployment, plan.noise_multiplier * (1 - 2.1e-4)), deployment.delta)
    assert less.epsilon > epsilon, "five digits are not many more than needed"


@pytest.mark.parametrize("kind", MECHANISM_KINDS)
def test_the_predicted_error_is_that_of_simulated_weights(kind: MechanismKind) -> None:
    plan = planned(kind, SMALL)
    size, sigma, generator = 4_000, 2.0**26, np.random.default_rng(5)
    stream = NoiseStream(plan.mechanism, size, context="test")
    draws = [stream.next(lambda: np.rint(generator.normal(0, sigma, size)).astype(np.int64)) for _ in range(24)]
    weights = np.cumsum(np.array(draws) / sigma, axis=0)  # [round, weight], in deviations of one draw
    found = weights.std(axis=1) * plan.noise_multiplier * SMALL.l2_clip_norm / SMALL.cohort
    predicted = error_by_round(plan.mechanism, plan.noise_multiplier, SMALL)
    np.testing.assert_allclose(predicted, found, rtol=0.06)  # the deviation of 4,000 draws is known to 1.1 %
    assert plan.largest_error == predicted.max()
    assert plan.rms_error == pytest.approx(np.sqrt(np.mean(predicted**2)))


@pytest.mark.parametrize(("epsilon", "multiplier"), [(2.0, 2.2305), (8.0, 0.6529)])
def test_published_noise_and_errors_at_2052_rounds(epsilon: float, multiplier: float) -> None:
    """McMahan, Xu, Zhang 2024, arXiv 2408.08868, section 6: 2,052 rounds, 6 participations 342 rounds apart."""
    deployment = Deployment(
        devices=342_000, cohort=1_000, rounds=2_052, separation_rounds=342, epsilon=epsilon, delta=1e-6
    )
    assert deployment.participations == 6
    plan = plan_noise(choose_mechanism("buffered", deployment.schedule, Choices()), deployment)
    assert plan.noise_multiplier / plan.sensitivity == pytest.approx(multiplier, rel=1e-3)
    assert plan.rms_error * deployment.cohort / multiplier == pytest.approx(9.18, rel=0.01)
    alone = plan_noise(Independent(), deployment)
    assert alone.rms_error * deployment.cohort / multiplier == pytest.approx(78.5, rel=0.01)
    assert alone.largest_error * deployment.cohort / multiplier == pytest.approx(111.0, rel=0.01)


def test_a_plan_of_more_devices_a_round_has_less_error_and_the_same_noise() -> None:
    larger = msgspec.structs.replace(SMALL, devices=4_000, cohort=400)
    few, many = planned("tree", SMALL), planned("tree", larger)
    assert few.noise_multiplier == many.noise_multiplier
    assert few.rms_error == pytest.approx(10 * many.rms_error)


@pytest.mark.parametrize(
    ("changes", "participations"),
    [
        ({}, 4),
        ({"participation_limit": 2}, 2),
        ({"participation_limit": 9}, 4),
        ({"separation_rounds": 1}, 24),
        ({"rounds": 7}, 1),
        ({"rounds": 8}, 2),
    ],
)
def test_participations_are_what_separation_and_limit_leave(changes: dict[str, int], participations: int) -> None:
    assert msgspec.structs.replace(SMALL, **changes).participations == participations


def test_a_mechanism_keeps_what_it_was_given() -> None:
    schedule = Schedule(20, 4, 5)
    chosen = {kind: choose_mechanism(kind, schedule, Choices(2, 7, 8)) for kind in MECHANISM_KINDS}
    assert chosen["tree"] == Tree(8)
    assert {kind: vectors_kept(mechanism) for kind, mechanism in chosen.items()} == {
        "independent": 0,
        "tree": 3,
        "banded": 6,
        "buffered": 2,
    }
    assert vectors_kept(choose_mechanism("banded", schedule, Choices(bands=500))) == 19, "bands beyond the rounds"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cohort": 0}, "cohort must be between 1 and the 400 devices, got 0"),
        ({"cohort": 401}, "cohort must be between 1 and the 400 devices, got 401"),
        ({"rounds": 0}, "rounds must be between 1 and 65536, got 0"),
        ({"separation_rounds": 0}, "separation_rounds must be between 1 and devices / cohort, 10, got 0"),
        ({"separation_rounds": 11}, "devices that stay away longer are too few to fill the rounds"),
        ({"participation_limit": -1}, "participation_limit must be >= 0, got -1"),
        ({"epsilon": 0.0}, "epsilon must be > 0 and <= 1e+06, got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be > 0 and <= 1e+06, got nan"),
        ({"delta": 1.0}, "delta must be in (0, 1), got 1.0"),
        ({"l2_clip_norm": -1.0}, "l2_clip_norm must be a finite number > 0, got -1.0"),
        ({"l2_clip_norm": float("inf")}, "l2_clip_norm must be a finite number > 0, got inf"),
        ({"num_weights": 0}, "num_weights must be >= 1, got 0"),
    ],
)
def test_absurd_deployments_are_refused(changes: dict[str, Any], message: str) -> None:
    fields = msgspec.structs.asdict(SMALL) | changes
    with pytest.raises(ValueError, match="must be") as refused:
        Deployment(**fields)
    assert message in str(refused.value)


def test_more_noise_than_a_plan_may_have_is_refused() -> None:
    tiny = msgspec.structs.replace(SMALL, epsilon=1e-5)
    with pytest.raises(ValueError, match="needs a noise_multiplier above 10000, the most that a plan may have"):
        plan_noise(Independent(), tiny)
