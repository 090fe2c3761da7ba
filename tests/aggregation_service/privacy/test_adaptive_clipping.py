import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.adaptive_clipping import (
    ClippingParameters,
    ClippingState,
    WrongClippingState,
    adapt,
    initial_state,
    read_state,
)

REPORTS = 100


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
