import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.accounting import privacy_spent
from evaluation.audit.lower_bounds import (
    Fit,
    clopper_pearson,
    counted_bound,
    fit_normal,
    fitted_bound,
    gaussian_epsilon,
)

DELTA = 1e-5


@given(mean=st.floats(0.05, 6), delta=st.floats(1e-9, 1e-2))
def test_epsilon_of_a_shift_is_that_of_the_gaussian_mechanism(mean: float, delta: float) -> None:
    exact = privacy_spent(1 / mean, 1, delta).epsilon
    found = gaussian_epsilon(Fit(mean, 1.0), delta)
    assert exact - 2e-3 <= found <= exact + 1e-9


def test_nothing_is_found_where_nothing_differs() -> None:
    assert gaussian_epsilon(Fit(0.0, 1.0), DELTA) == 0
    assert fitted_bound(np.random.default_rng(0).normal(size=1000), DELTA, 0.999) == 0


def test_another_deviation_alone_gives_canaries_away() -> None:
    assert gaussian_epsilon(Fit(0.0, 2.0), DELTA) > 1
    assert gaussian_epsilon(Fit(0.0, 0.5), DELTA) > 1


def test_a_shift_beyond_what_floats_can_tell_still_has_a_finite_epsilon() -> None:
    assert 100 < gaussian_epsilon(Fit(80.0, 1.0), DELTA) < math.inf


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.5])
def test_bounds_hold_as_often_as_they_say(mean: float) -> None:
    """With 90 % confidence, of 60 runs a bound fails in 6; more than 15 would be a chance of 1 in 3,000."""
    exact = privacy_spent(1 / mean, 1, DELTA).epsilon if mean else 0.0
    generator = np.random.default_rng(11)
    fitted = counted = 0
    for _ in range(60):
        inside, outside = generator.normal(mean, 1, 200), generator.normal(0, 1, 200)
        fitted += fitted_bound(inside, DELTA, 0.9) > exact
        counted += counted_bound(inside, outside, DELTA, 0.9) > exact
    assert fitted <= 15
    assert counted <= 15


def test_bounds_come_near_with_many_canaries() -> None:
    exact = privacy_spent(1.0, 1, DELTA).epsilon
    generator = np.random.default_rng(5)
    inside, outside = generator.normal(1, 1, 20_000), generator.normal(0, 1, 20_000)
    assert fitted_bound(inside, DELTA, 0.999) > 0.9 * exact
    assert counted_bound(inside, outside, DELTA, 0.999) > 0.35 * exact  # counting is weak: of rare events it sees few


@given(trials=st.integers(1, 300), share=st.floats(0, 1), error=st.floats(1e-4, 0.3))
def test_clopper_pearson_is_where_that_many_hits_become_unlikely(trials: int, share: float, error: float) -> None:
    hits = round(share * trials)
    low = clopper_pearson(hits, trials, error)
    assert 0 <= low <= hits / trials
    if hits:
        chance = sum(math.comb(trials, n) * low**n * (1 - low) ** (trials - n) for n in range(hits, trials + 1))
        assert chance == pytest.approx(error, rel=1e-6)


def test_a_fit_is_mean_and_deviation() -> None:
    values = np.array([NormalDist(2, 3).inv_cdf((place + 0.5) / 1000) for place in range(1000)])
    fit = fit_normal(values)
    assert fit.mean == pytest.approx(2, abs=0.01)
    assert fit.deviation == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, math.nan])
def test_shares_must_be_shares(wrong: float) -> None:
    values = np.zeros(200)
    with pytest.raises(ValueError, match="delta must be in"):
        gaussian_epsilon(Fit(1.0, 1.0), wrong)
    with pytest.raises(ValueError, match="confidence must be in"):
        fitted_bound(values, DELTA, wrong)
    with pytest.raises(ValueError, match="error must be in"):
        clopper_pearson(1, 2, wrong)


def test_too_few_canaries_are_refused() -> None:
    with pytest.raises(ValueError, match="canaries must be at least 50, got 49"):
        fitted_bound(np.zeros(49), DELTA, 0.9)
    with pytest.raises(ValueError, match="canaries must be at least 100, got 99"):
        counted_bound(np.zeros(100), np.zeros(99), DELTA, 0.9)
    with pytest.raises(ValueError, match="hits must be 0 to trials"):
        clopper_pearson(3, 2, 0.1)
    with pytest.raises(ValueError, match="deviation must be > 0"):
        gaussian_epsilon(Fit(1.0, 0.0), DELTA)
