import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aggregation_service.privacy.grid_noise import (
    _PIECE,
    MAX_DEVIATION,
    MAX_SIZE,
    MIN_DEVIATION,
    Grid,
    SumOffGrid,
    finest_grid,
    one_report_bound,
    stream_bound,
)
from aggregation_service.rounds.accumulator import PartialSum, SumArray, clip_scaled
from protocol.discrete_gaussian import IntegerArray, RandomBytes
from protocol.errors import NonFiniteUpdate
from protocol.keystream import Keystream
from protocol.rotation import rotate, unrotate
from protocol.update import ScaledUpdate

FULL_SIZE = 1_422_250
SEED = bytes(range(32))


@given(st.floats(MIN_DEVIATION, MAX_DEVIATION))
def test_noise_is_never_less_than_asked_for(deviation: float) -> None:
    grid = finest_grid(deviation)
    exact = grid.sigma * Fraction(2) ** grid.step_bits
    assert Fraction(deviation) <= exact <= Fraction(deviation) * (1 + Fraction(1, 2**29))
    assert 2**29 <= grid.sigma <= 2**30


@given(st.floats(MIN_DEVIATION, MAX_DEVIATION))
def test_what_is_accounted_is_no_more_than_the_proof_gives(deviation: float) -> None:
    grid = finest_grid(deviation)
    step = Fraction(2) ** grid.step_bits
    assert Fraction(grid.noise_deviation) ** 2 <= (grid.sigma**2 - 9) * step**2
    assert grid.noise_deviation >= deviation * (1 - 2**-52)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, MIN_DEVIATION / 2, MAX_DEVIATION * 2])
def test_absurd_deviations_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="noise_deviation must be between"):
        finest_grid(wrong)


def test_a_postprocessed_gaussian_is_the_discrete_gaussian() -> None:
    """The proof's claim by quadrature, on a grid coarse enough to see the error: its factors are as derived."""
    sigma, s = 2.0, 0.8
    y = np.linspace(-30, 30, 60_001)
    w = np.arange(-40, 41)
    rounding = np.exp(-((w[:, None] - y) ** 2) / (2 * s**2))
    rounding /= rounding.sum(axis=0)
    for mean in (0, 3):
        density = np.exp(-((y - mean) ** 2) / (2 * (sigma**2 - s**2)))
        postprocessed = rounding @ (density / density.sum())
        discrete = np.exp(-((w - mean) ** 2) / (2 * sigma**2))
        near = np.abs(w - mean) < 10
        ratio = (postprocessed / (discrete / discrete.sum()))[near]
        error = np.abs(np.log(ratio)).max()
        assert 0 < error < 5 * math.exp(-2 * math.pi**2 * s**2)


def test_draws_integers_of_the_stated_deviation() -> None:
    grid = finest_grid(0.3)
    noise = grid.from_grid(grid.draw(50_000, Keystream(SEED, b"grid noise tests").read))
    assert abs(noise.std() / 0.3 - 1) < 4 / math.sqrt(2 * noise.size)
    assert scipy.stats.kstest(noise / 0.3, "norm").pvalue > 1e-4
    assert (grid.draw(100) != grid.draw(100)).any()


SUMS = arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e6, 1e6))


@given(SUMS, st.floats(1e-3, 1e3))
def test_rounds_to_the_nearest_step(total: SumArray, deviation: float) -> None:
    grid = finest_grid(deviation)
    steps = grid.to_grid(total)
    assert steps.dtype == np.int64
    for value, step in zip(total.tolist(), steps.tolist(), strict=True):
        assert abs(Fraction(value) / Fraction(grid.step) - step) <= Fraction(1, 2)


@given(st.lists(st.integers(-(2**53), 2**53)), st.integers(-900, 900))
def test_steps_come_back_from_floats(steps: list[int], step_bits: int) -> None:
    grid = Grid(step_bits=step_bits, sigma=2**29)
    assert grid.to_grid(grid.from_grid(np.array(steps, np.int64))).tolist() == steps


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_sums_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(NonFiniteUpdate, match="a sum must be finite"):
        finest_grid(1.0).to_grid(np.array([0.0, wrong]))


@pytest.mark.parametrize("wrong", [2.0**32, -(2.0**32), 1e308])
def test_sums_off_the_grid_are_refused(wrong: float) -> None:
    with pytest.raises(SumOffGrid, match=r"a sum must be within 2\^61 steps of 2\^-29 of zero"):
        finest_grid(1.0).to_grid(np.array([wrong]))


@pytest.mark.parametrize("size", [0, 1, _PIECE, 3 * _PIECE + 17])
def test_fresh_noise_is_added_to_every_piece_of_the_rounded_sum(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    grid, total = finest_grid(0.5), np.linspace(-3, 3, size)
    drawn: list[IntegerArray] = []

    def draw(_self: Grid, length: int, _random_bytes: RandomBytes) -> IntegerArray:
        drawn.append(np.arange(length) + 1000 * len(drawn))
        return drawn[-1]

    monkeypatch.setattr(Grid, "draw", draw)
    before = total.copy()
    noised = grid.with_fresh_noise(total)
    expected = grid.to_grid(total) + np.concatenate([np.empty(0, np.int64), *drawn])
    np.testing.assert_array_equal(noised, grid.from_grid(expected))
    np.testing.assert_array_equal(total, before)


@given(st.integers(0, 2**32), st.integers(1, 30), st.booleans())
def test_one_report_moves_the_rounded_sum_by_no_more_than_the_bound(seed: int, reports: int, turned: bool) -> None:
    """Of real sums, plain or turned by a rotation and back, on a coarse grid, whose rounding is most of the bound."""
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 40))
    updates = [(generator.standard_cauchy(size)).astype(np.float32) for _ in range(reports)]
    grid = Grid(step_bits=int(generator.integers(-12, 2)), sigma=2**29)

    def summed(which: list[SumArray]) -> SumArray:
        partial = PartialSum(size)
        partial.propose([clip_scaled(ScaledUpdate(update, 1.0), 1.0) for update in which])
        partial.accept()
        return unrotate(rotate(partial.total, SEED), SEED) if turned else partial.total

    zeroed = [np.zeros_like(updates[0]), *updates[1:]]
    moved = (grid.to_grid(summed(updates)) - grid.to_grid(summed(zeroed))) * grid.step
    bound = one_report_bound(grid, l2_clip_norm=1.0, size=size, max_reports=reports)
    assert np.linalg.norm(moved) <= bound
    assert bound <= 1 + math.sqrt(size) * grid.step + 1e-9


def test_rounding_can_move_a_sum_as_far_as_the_bound_says() -> None:
    """All coordinates just beside a half: the bound on rounding could not be smaller."""
    size = 10_000
    grid = Grid(step_bits=0, sigma=2**29)
    total = np.full(size, 0.5 + 1e-9)
    moved = grid.to_grid(total) - grid.to_grid(np.full(size, 0.5 - 1e-9))
    clip = float(np.linalg.norm(np.full(size, 2e-9)))
    bound = one_report_bound(grid, l2_clip_norm=clip, size=size, max_reports=1)
    assert float(np.linalg.norm(moved)) == pytest.approx(bound, rel=1e-6)


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 8.35])
def test_inflation_at_full_size_is_below_a_thousandth(noise_multiplier: float) -> None:
    """n = 2,052 rounds, 10,000 reports a round, a stream of sensitivity 3 with noise relative to it."""
    sensitivity, clip = 3.0, 0.5
    grid = finest_grid(noise_multiplier * sensitivity * clip)
    one_report = one_report_bound(grid, l2_clip_norm=clip, size=FULL_SIZE, max_reports=10_000)
    assert one_report / clip - 1 < 1e-4
    stream = stream_bound(
        grid, sensitivity=sensitivity, one_report=one_report, size=FULL_SIZE, rounds=2052, rounding_steps=1.1
    )
    assert 0 < stream / (sensitivity * clip) - 1 < 1e-3


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 20))
def test_a_rounded_stream_moves_by_no_more_than_the_bound(seed: int, size: int, rounds: int) -> None:
    """Two neighbours, the same releases o: their noise differs by the linear mechanism's shift and by roundings."""
    generator = np.random.default_rng(seed)
    coefficients = np.cumprod(np.r_[1.0, generator.uniform(0.1, 0.9, rounds - 1)])
    matrix = np.array([[coefficients[t - s] if t >= s else 0.0 for s in range(rounds)] for t in range(rounds)])
    grid = Grid(step_bits=0, sigma=2**29)
    released = generator.integers(-(2**30), 2**30, (rounds, size))
    first = generator.integers(-1000, 1000, (rounds, size))
    taken_part = int(generator.integers(rounds))
    second = first.copy()
    second[taken_part] += generator.integers(-5, 6, size)

    def drawn(sums: SumArray) -> SumArray:
        noise = released - sums
        recurrence = np.tril(matrix, -1) @ noise
        return noise + np.rint(recurrence).astype(np.int64)

    moved = float(np.linalg.norm(drawn(first) - drawn(second)))
    one_report = float(np.linalg.norm(first - second))
    sensitivity = float(np.linalg.norm(matrix, axis=0).max())
    bound = stream_bound(
        grid, sensitivity=sensitivity, one_report=one_report, size=size, rounds=rounds, rounding_steps=1.001
    )
    assert moved <= bound


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_absurd_clipping_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="l2_clip_norm must be a finite number > 0, got"):
        one_report_bound(finest_grid(1.0), l2_clip_norm=wrong, size=1, max_reports=1)


@pytest.mark.parametrize(("size", "reports"), [(0, 1), (MAX_SIZE + 1, 1), (1, 0), (1, 10_000_001)])
def test_absurd_counts_are_refused(size: int, reports: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to"):
        one_report_bound(finest_grid(1.0), l2_clip_norm=1.0, size=size, max_reports=reports)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sensitivity": 0.9},
        {"sensitivity": math.nan},
        {"one_report": -1.0},
        {"one_report": math.inf},
        {"size": 0},
        {"rounds": 0},
        {"rounding_steps": -1.0},
        {"rounding_steps": math.nan},
    ],
)
def test_absurd_streams_are_refused(wrong: dict[str, float]) -> None:
    arguments: dict[str, Any] = {
        "sensitivity": 1.0,
        "one_report": 1.0,
        "size": 1,
        "rounds": 1,
        "rounding_steps": 1.0,
    }
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        stream_bound(finest_grid(1.0), **{**arguments, **wrong})
