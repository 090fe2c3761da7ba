import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.adaptive_clipping import (
    ClippingParameters,
    ClippingState,
    WrongClippingState,
    adapt,
    initial_state,
    read_state,
)
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.parameters import RoundParameters
from protocol.keystream import Keystream
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters

REPORTS = 100
ROUNDS = RoundParameters(minimum_reports=1)


def parameters(**changed: Any) -> ClippingParameters:
    return ClippingParameters(**{"floor": 0.01, "ceiling": 10.0, **changed})


def begin(chosen: ClippingParameters | None = None, context: str = "task 1", norm: float = 0.5) -> ClippingState:
    return initial_state(chosen or parameters(), context, norm)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("initial", [0.02, 9.0])
def test_the_norm_finds_the_quantile(quantile: float, initial: float) -> None:
    """Log-normal norms, the count's noise of m / 20: after 150 rounds the norm is near the quantile and stays there."""
    generator = np.random.default_rng(0)
    chosen = parameters(target_quantile=quantile)
    state = begin(chosen, norm=initial)
    norms = []
    for _ in range(300):
        lengths = generator.lognormal(0.0, 0.5, 100)
        bits = np.where(lengths <= state.l2_clip_norm, 0.5, -0.5).sum()
        state = adapt(state, chosen, bits + generator.normal(0, 5.0), REPORTS)
        norms.append(state.l2_clip_norm)
    assert state.step == 300
    true = float(np.quantile(np.random.default_rng(1).lognormal(0.0, 0.5, 100_000), quantile))
    assert abs(math.log(np.exp(np.log(norms[150:]).mean()) / true)) < 0.05
    assert np.abs(np.log(np.array(norms[150:]) / true)).max() < 0.5


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=60), st.floats(0.01, 0.99), st.floats(0.01, 2))
def test_no_count_drives_the_norm_away(counts: list[float], quantile: float, rate: float) -> None:
    """Whatever the counts, infinite ones too: within floor and ceiling, and never faster than the learning rate."""
    chosen = parameters(target_quantile=quantile, learning_rate=rate)
    state = begin(chosen)
    for count in counts:
        moved = adapt(state, chosen, count, REPORTS)
        assert chosen.floor <= moved.l2_clip_norm <= chosen.ceiling
        assert abs(math.log(moved.l2_clip_norm / state.l2_clip_norm)) <= rate + 1e-9
        state = moved


@pytest.mark.parametrize(
    ("noised_bits", "expected"),
    [
        (20.0, 0.5),  # 70 of 100 are within, as targeted
        (50.0, 0.5 * math.exp(-0.2 * 0.3)),
        (1e9, 0.5 * math.exp(-0.2 * 0.3)),
        (-50.0, 0.5 * math.exp(0.2 * 0.7)),
        (-math.inf, 0.5 * math.exp(0.2 * 0.7)),
    ],
)
def test_a_step_is_that_of_the_paper(noised_bits: float, expected: float) -> None:
    chosen = parameters(target_quantile=0.7)
    moved = adapt(begin(chosen), chosen, noised_bits, REPORTS)
    assert moved.l2_clip_norm == pytest.approx(expected, rel=1e-12)


def test_a_count_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="noised_bits must be a number, got nan"):
        adapt(begin(), parameters(), math.nan, REPORTS)
    with pytest.raises(ValueError, match="expected_reports must be >= 1, got 0"):
        adapt(begin(), parameters(), 0.0, 0)


@pytest.mark.parametrize("norm", [0.009, 10.1, math.nan])
def test_a_norm_outside_floor_and_ceiling_is_not_begun_with(norm: float) -> None:
    with pytest.raises(ValueError, match=r"l2_clip_norm must be between 0.01 and 10.0, got"):
        begin(norm=norm)


@given(st.text(max_size=20), st.integers(0, 10**6), st.floats(0.01, 10))
def test_a_state_comes_back_from_its_bytes(context: str, step: int, norm: float) -> None:
    state = ClippingState(context=context, step=step, l2_clip_norm=norm)
    assert read_state(parameters(), context, state.to_bytes()) == state


def test_a_state_of_another_task_is_refused() -> None:
    state = begin(context="task 2")
    with pytest.raises(WrongClippingState, match="must be of task 1, got that of another task"):
        read_state(parameters(), "task 1", state.to_bytes())


@pytest.mark.parametrize("norm", [0.005, 11.0])
def test_a_state_outside_floor_and_ceiling_is_refused(norm: float) -> None:
    state = ClippingState(context="task 1", step=3, l2_clip_norm=norm)
    with pytest.raises(WrongClippingState, match=r"must be between 0.01 and 10.0, got"):
        read_state(parameters(), "task 1", state.to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"l2_clip_norm": 0},
        {"l2_clip_norm": -1.0},
        {"l2_clip_norm": "1"},
        {"l2_clip_norm": None},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_state_with_absurd_fields_is_refused(change: dict[str, object]) -> None:
    fields = {"context": "task 1", "step": 3, "l2_clip_norm": 0.5, **change}
    with pytest.raises(WrongClippingState, match="a clipping state cannot be read"):
        read_state(parameters(), "task 1", msgspec.json.encode(fields))


def test_every_truncation_of_a_state_is_refused() -> None:
    payload = begin().to_bytes()
    for length in range(len(payload)):
        with pytest.raises(WrongClippingState):
            read_state(parameters(), "task 1", payload[:length])
    with pytest.raises(WrongClippingState):
        read_state(parameters(), "task 1", b"\xff" + payload)


@pytest.mark.parametrize(
    "change",
    [
        {"target_quantile": 0.0},
        {"target_quantile": 1.0},
        {"target_quantile": math.nan},
        {"learning_rate": 0.0},
        {"learning_rate": 2.1},
        {"learning_rate": math.nan},
        {"floor": 0.0},
        {"floor": -1.0},
        {"floor": math.nan},
        {"ceiling": math.inf},
        {"ceiling": 0.009},
        {"ceiling": math.nan},
    ],
    ids=str,
)
def test_absurd_parameters_are_refused(change: dict[str, float]) -> None:
    name = next(iter(change))
    with pytest.raises(ValueError, match="must be") as raised:
        parameters(**change)
    assert name in str(raised.value)


@settings(deadline=None, max_examples=8)
@given(st.sampled_from([0.2, 0.5, 0.8]), st.sampled_from([0.02, 0.4, 9.0]), st.integers(0, 2**32))
def test_with_the_noise_of_rounds_the_norm_finds_the_quantile(quantile: float, initial: float, seed: int) -> None:
    """The count goes through a sum's grid and its exact noise, at the plan of each round; norms are log-normal."""
    chosen, generator, read = parameters(target_quantile=quantile), np.random.default_rng(seed), draws(seed)
    state, norms = begin(chosen, norm=initial), []
    for _ in range(200):
        plan = count_plan(state.l2_clip_norm)
        grid = sum_noise(plan, ROUNDS).grid
        assert grid is not None
        half = plan.privacy.bit_per_device / 2
        total = np.where(generator.lognormal(0.0, 0.5, REPORTS) <= state.l2_clip_norm, half, -half).sum()
        (noised,) = grid.with_fresh_noise(np.array([total]), read)
        state = adapt(state, chosen, noised / plan.privacy.bit_per_device, REPORTS)
        norms.append(state.l2_clip_norm)
    true = math.exp(0.5 * NormalDist().inv_cdf(quantile))
    assert abs(math.log(np.exp(np.log(norms[100:]).mean()) / true)) < 0.1
    assert np.abs(np.log(np.array(norms[100:]) / true)).max() < 0.5


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32))
def test_noise_alone_stays_within_floor_and_ceiling(seed: int) -> None:
    """A count of nobody's bits, noised 20 times as much as it should be."""
    chosen, read = parameters(learning_rate=2.0), draws(seed)
    state, norms = begin(chosen), []
    for _ in range(200):
        plan = count_plan(state.l2_clip_norm, count_noise=100.0)
        grid = sum_noise(plan, ROUNDS).grid
        assert grid is not None
        (noised,) = grid.with_fresh_noise(np.zeros(1), read)
        state = adapt(state, chosen, noised / plan.privacy.bit_per_device, REPORTS)
        norms.append(state.l2_clip_norm)
    assert chosen.floor <= min(norms) < max(norms) <= chosen.ceiling
    assert np.abs(np.diff(np.log(norms))).max() <= 1 + 1e-9


def draws(seed: int) -> Callable[[int], bytes]:
    return Keystream(seed.to_bytes(32, "little"), b"noise of the tests").read


def count_plan(l2_clip_norm: float, count_noise: float = 5.0) -> Plan:
    return Plan(
        tensors=(TensorSpec(name="bias", shape=(4,)),),
        training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
        privacy=PrivacyParameters(
            l2_clip_norm=l2_clip_norm,
            noise_multiplier=1.0,
            report_goal=REPORTS,
            minimum_separation_s=0.0,
            count_noise=count_noise,
        ),
    )
