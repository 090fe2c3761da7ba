import math
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aggregation_service.privacy.adaptive_clipping import (
    ClippingParameters,
    ClippingState,
    WrongClippingState,
    adapt,
    bit_coordinate,
    coordinate_per_device,
    initial_state,
    joint_noise_multiplier,
    read_state,
    update_noise_multiplier,
)

POSITIVE = st.floats(1e-3, 1e3)


def parameters(**changed: Any) -> ClippingParameters:
    values = {"count_noise": 5.0, "expected_reports": 100, "initial": 0.5, "floor": 0.01, "ceiling": 10.0}
    return ClippingParameters(**{**values, **changed})


@given(POSITIVE, st.floats(1, 1e3, exclude_min=True))
def test_update_and_bit_together_cost_what_was_asked_for(noise_multiplier: float, factor: float) -> None:
    count_noise = noise_multiplier / 2 * factor
    assume(2 * count_noise > noise_multiplier)
    raised = update_noise_multiplier(noise_multiplier, count_noise)
    assert raised > noise_multiplier
    assert joint_noise_multiplier(raised, count_noise) == pytest.approx(noise_multiplier, rel=1e-9)
    exact = [Fraction(value) ** -2 for value in (raised, 2 * count_noise, noise_multiplier)]
    assert exact[0] + exact[1] <= exact[2]


def test_the_paper_s_example() -> None:
    """Section 3: with σ_b = m / 20 and m = 100, z = 1 grows by half a percent."""
    assert update_noise_multiplier(1.0, 5.0) == pytest.approx(1 / math.sqrt(0.99), rel=1e-12)


@given(POSITIVE, st.floats(1.001, 100), POSITIVE, st.booleans())
def test_the_bit_as_a_coordinate_has_the_joint_sensitivity(
    noise_multiplier: float, factor: float, l2_clip_norm: float, was_clipped: bool
) -> None:
    """The mechanism adds noise of one deviation to all coordinates: it over their joint norm is z."""
    count_noise = noise_multiplier / 2 * factor
    raised = update_noise_multiplier(noise_multiplier, count_noise)
    arguments = {"l2_clip_norm": l2_clip_norm, "update_noise_multiplier": raised, "count_noise": count_noise}
    bit = bit_coordinate(was_clipped=was_clipped, **arguments)
    assert (bit < 0) == was_clipped
    norm = math.hypot(l2_clip_norm, bit)
    assert raised * l2_clip_norm / norm == pytest.approx(noise_multiplier, rel=1e-9)
    unit = coordinate_per_device(**arguments)
    assert abs(bit / unit) == pytest.approx(0.5, rel=1e-12)
    assert raised * l2_clip_norm / unit == pytest.approx(count_noise, rel=1e-12)  # of the count, in devices


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("initial", [0.02, 9.0])
def test_the_norm_finds_the_quantile(quantile: float, initial: float) -> None:
    """Log-normal norms, the count's noise of m / 20: after 150 rounds the norm is near the quantile and stays there."""
    generator = np.random.default_rng(0)
    chosen = parameters(target_quantile=quantile, initial=initial)
    state = initial_state(chosen, "task 1")
    norms = []
    for _ in range(300):
        lengths = generator.lognormal(0.0, 0.5, 100)
        bits = np.where(lengths <= state.l2_clip_norm, 0.5, -0.5).sum()
        state = adapt(state, chosen, bits + generator.normal(0, 5.0))
        norms.append(state.l2_clip_norm)
    assert state.step == 300
    true = float(np.quantile(np.random.default_rng(1).lognormal(0.0, 0.5, 100_000), quantile))
    assert abs(math.log(np.exp(np.log(norms[150:]).mean()) / true)) < 0.05
    assert np.abs(np.log(np.array(norms[150:]) / true)).max() < 0.5


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=60), st.floats(0.01, 0.99), st.floats(0.01, 2))
def test_no_count_drives_the_norm_away(counts: list[float], quantile: float, rate: float) -> None:
    """Whatever the counts, infinite ones too: within floor and ceiling, and never faster than the learning rate."""
    chosen = parameters(target_quantile=quantile, learning_rate=rate)
    state = initial_state(chosen, "task 1")
    for count in counts:
        moved = adapt(state, chosen, count)
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
    moved = adapt(initial_state(chosen, "task 1"), chosen, noised_bits)
    assert moved.l2_clip_norm == pytest.approx(expected, rel=1e-12)


def test_a_count_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="noised_bits must be a number, got nan"):
        adapt(initial_state(parameters(), "task 1"), parameters(), math.nan)


@given(st.text(max_size=20), st.integers(0, 10**6), st.floats(0.01, 10))
def test_a_state_comes_back_from_its_bytes(context: str, step: int, norm: float) -> None:
    state = ClippingState(context=context, step=step, l2_clip_norm=norm)
    assert read_state(parameters(), context, state.to_bytes()) == state


def test_a_state_of_another_task_is_refused() -> None:
    state = initial_state(parameters(), "task 2")
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
    payload = initial_state(parameters(), "task 1").to_bytes()
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
        {"count_noise": 0.0},
        {"count_noise": math.inf},
        {"expected_reports": 0},
        {"floor": 0.0},
        {"floor": -1.0},
        {"floor": math.nan},
        {"ceiling": math.inf},
        {"ceiling": 0.4},
        {"initial": 0.001},
        {"initial": math.nan},
    ],
    ids=str,
)
def test_absurd_parameters_are_refused(change: dict[str, float]) -> None:
    name = next(iter(change))
    with pytest.raises(ValueError, match="must be") as raised:
        parameters(**change)
    assert name in str(raised.value)


@pytest.mark.parametrize(("noise_multiplier", "count_noise"), [(1.0, 0.5), (1.0, 0.4), (10.0, 5.0)])
def test_a_count_that_alone_costs_more_is_refused(noise_multiplier: float, count_noise: float) -> None:
    with pytest.raises(ValueError, match="count_noise must be > half the noise_multiplier"):
        update_noise_multiplier(noise_multiplier, count_noise)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_absurd_noise_is_refused(wrong: float) -> None:
    for refused in (
        lambda: update_noise_multiplier(wrong, 1.0),
        lambda: update_noise_multiplier(1.0, wrong),
        lambda: joint_noise_multiplier(wrong, 1.0),
        lambda: joint_noise_multiplier(1.0, wrong),
        lambda: coordinate_per_device(wrong, 1.0, 1.0),
        lambda: bit_coordinate(was_clipped=True, l2_clip_norm=1.0, update_noise_multiplier=wrong, count_noise=1.0),
    ):
        with pytest.raises(ValueError, match="must be a finite number > 0, got"):
            refused()
