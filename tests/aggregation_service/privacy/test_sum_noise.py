"""What the ledger is told of a task's noise is never more noise, nor a smaller norm, than there is."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.operations.aggregation import with_secure_aggregation
from aggregation_service.privacy.grid_noise import stream_bound
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Independent, Tree
from aggregation_service.privacy.mechanisms.rounding import rounding_steps
from aggregation_service.privacy.mechanisms.sensitivity import MOST_ROUNDS, sensitivity
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.parameters import RoundParameters
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters

PARAMETERS = RoundParameters(minimum_reports=1)
MECHANISMS = [
    Tree(restart_every=8),
    BandedToeplitz(coefficients=(1.0, 0.5, 0.25)),
    BufferedToeplitz(decays=(0.9, 0.5), scales=(0.3, 0.2)),
]


def make_plan(noise: float, clip: float = 1.0, goal: int = 10, shape: tuple[int, ...] = (37,)) -> Plan:
    return Plan(
        tensors=(TensorSpec(name="bias", shape=shape),),
        training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
        privacy=PrivacyParameters(
            l2_clip_norm=clip, noise_multiplier=noise, report_goal=goal, minimum_separation_s=0.0
        ),
    )


@given(st.floats(1e-6, 1e4), st.floats(1e-3, 1e3), st.integers(1, 10_000))
def test_the_noise_is_as_large_as_planned_and_told_as_it_is(noise: float, clip: float, goal: int) -> None:
    plan = make_plan(noise, clip, goal)
    found = sum_noise(plan, PARAMETERS)
    assert found.grid is not None
    assert found.grid.sigma * found.grid.step >= noise * clip
    assert found.one_report > clip
    assert found.noise_multiplier * found.one_report <= found.grid.noise_deviation * (1 + 2**-52)
    assert found.noise_multiplier <= noise * (1 + 2**-28)
    assert found.noise_multiplier == pytest.approx(noise, rel=1e-6 + 1e-7 * noise)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("rounds", [1, 7, 2000])
def test_a_stream_is_charged_for_no_less_than_its_bound(mechanism: Any, rounds: int) -> None:
    found = sum_noise(make_plan(2.0), PARAMETERS)
    assert found.grid is not None
    multiplier, norm = found.in_stream(mechanism, rounds)
    for separation, participations in ((1, 1), (5, 3), (1, 2000)):
        moved = sensitivity(mechanism, rounds=rounds, min_separation=separation, max_participations=participations)
        steps = rounding_steps(mechanism, rounds=rounds)
        bound = stream_bound(
            found.grid, sensitivity=moved, one_report=found.one_report, size=37, rounds=rounds, rounding_steps=steps
        )
        assert multiplier / moved <= found.grid.noise_deviation / bound * (1 + 2**-50)
        assert multiplier / moved == pytest.approx(found.grid.noise_deviation / bound, rel=1e-5)
    assert norm >= found.one_report


def test_fresh_noise_is_told_the_same_however_many_rounds_there_were() -> None:
    found = sum_noise(make_plan(2.0), PARAMETERS)
    assert found.in_stream(Independent(), 10 * MOST_ROUNDS) == (found.noise_multiplier, found.one_report)


def test_without_noise_there_is_no_grid() -> None:
    found = sum_noise(make_plan(0.0, clip=0.7), PARAMETERS)
    assert (found.grid, found.noise_multiplier, found.one_report) == (None, 0.0, 0.7)
    assert found.in_stream(MECHANISMS[0], 5) == (0.0, 0.7)


def test_rounding_under_secure_aggregation_is_in_the_bound() -> None:
    plan = with_secure_aggregation(make_plan(1.0, goal=40), RoundParameters(minimum_reports=20))
    assert sum_noise(plan, PARAMETERS).one_report > plan.l2_sensitivity > plan.privacy.l2_clip_norm


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (make_plan(1e-30, clip=1e-3), "noise_deviation must be between"),
        (make_plan(1.0, goal=9_000_000), "max_reports must be 1 to 10000000, got 11700000"),
        (make_plan(1.0, shape=(1000, 1000, 40)), "size must be 1 to 33554432, got 40000000"),
    ],
)
def test_noise_that_cannot_be_made_is_refused(plan: Plan, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sum_noise(plan, PARAMETERS)


def test_a_stream_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be between 1 and 65536, got 65537"):
        sum_noise(make_plan(1.0), PARAMETERS).in_stream(MECHANISMS[1], MOST_ROUNDS + 1)


def test_the_multiplier_is_a_number_that_the_ledger_takes() -> None:
    largest = sum_noise(make_plan(1e4, clip=1e3), PARAMETERS)
    assert math.isfinite(largest.noise_multiplier)
    assert msgspec.json.decode(msgspec.json.encode(largest.noise_multiplier)) == largest.noise_multiplier
