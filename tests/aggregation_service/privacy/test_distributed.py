"""The guarantee against exact distributions: probabilities of sums by convolution, divergences by summing."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.distributed import SumOfShares, spent_on_sums, sum_of
from protocol.distributed_noise import NoiseTarget, shared_noise

Array = npt.NDArray[np.float64]
REACH = 60
SMALL = [(sigma, num_shares) for sigma in (Fraction(1, 2), Fraction(7, 10), Fraction(1)) for num_shares in (1, 2, 3, 6)]


def discrete_gaussian(variance: float) -> Array:
    values = np.arange(-REACH, REACH + 1)
    weights = np.exp(-(values**2) / (2 * variance))
    return weights / weights.sum()


def exact_sum(sigma: Fraction, num_shares: int) -> Array:
    """The distribution of the sum of shares on -REACH ... REACH; beyond it has nothing that float64 could show."""
    share = discrete_gaussian(float(sigma) ** 2)
    total = share
    for _ in range(num_shares - 1):
        total = np.convolve(total, share, mode="same")
    return total


def released(**changed: Any) -> SumOfShares:
    values = {"sigma": Fraction(10), "num_shares": 100, "squared_bound": 10_000, "vector_length": 1000}
    return SumOfShares(**{**values, **changed})


@pytest.mark.parametrize(("sigma", "num_shares"), SMALL)
def test_a_coordinate_is_as_close_to_a_discrete_gaussian_as_stated(sigma: Fraction, num_shares: int) -> None:
    close = discrete_gaussian(num_shares * float(sigma) ** 2)
    exact = exact_sum(sigma, num_shares)
    seen = close > 1e-9  # convolution errs by 1e-17
    apart = np.abs(np.log(exact[seen] / close[seen])).max()
    assert apart <= released(sigma=sigma, num_shares=num_shares).divergence / 2 + 1e-7


@pytest.mark.parametrize(("sigma", "num_shares"), SMALL)
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_divergences_are_no_more_than_stated(sigma: Fraction, num_shares: int, shift: int) -> None:
    exact = exact_sum(sigma, num_shares)
    one, other = exact[:-shift], exact[shift:]
    both = (one > 1e-300) & (other > 1e-300)
    one_log, other_log = np.log(one[both]), np.log(other[both])
    bound = released(sigma=sigma, num_shares=num_shares, squared_bound=shift**2, vector_length=1)
    for order in (1.1, 1.5, 2.0, 4.0):
        divergence = math.log(np.exp(order * one_log + (1 - order) * other_log).sum()) / (order - 1)
        assert divergence <= bound.renyi(order) + 1e-9
        assert bound.renyi(order) <= order * bound.rho * (1 + 1e-9)


@pytest.mark.parametrize(("sigma", "num_shares"), [pair for pair in SMALL if pair[0] >= Fraction(7, 10)])
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_epsilon_covers_the_exact_delta(sigma: Fraction, num_shares: int, delta: float) -> None:
    """One coordinate, moved by one: delta(epsilon) = sum of max(P - exp(epsilon) Q, 0) by adding up."""
    exact = exact_sum(sigma, num_shares)
    spent = spent_on_sums(released(sigma=sigma, num_shares=num_shares, squared_bound=1, vector_length=1), 1, delta)
    one, other = exact[:-1], exact[1:]
    assert np.maximum(one - math.exp(spent.epsilon) * other, 0).sum() <= delta


@given(st.fractions(Fraction(1, 2), 100, max_denominator=64), st.integers(1, 500))
@settings(max_examples=50)
def test_divergence_is_the_paper_s_sum(sigma: Fraction, num_shares: int) -> None:
    literal = 10 * math.fsum(
        math.exp(-2 * math.pi**2 * float(sigma) ** 2 * (k / (k + 1))) for k in range(1, num_shares)
    )
    assert literal <= released(sigma=sigma, num_shares=num_shares).divergence <= literal * (1 + 1e-9)


def test_wide_shares_protect_as_one_gaussian_does() -> None:
    """Published for z = 8.35 and 2 participations: rho = 0.01434, epsilon = 0.9936 at delta = 1e-10."""
    target = NoiseTarget(noise_multiplier=8.35, max_cohort=128, num_honest=108, vector_length=1_422_250)
    group = sum_of(shared_noise(target, l2_clip_norm=0.5, value_bits=20))
    assert group.noise_multiplier == pytest.approx(8.35, rel=1e-8)
    spent = spent_on_sums(group, 2, 1e-10)
    assert spent.rho == pytest.approx(0.01434, abs=5e-6)
    assert spent.epsilon == pytest.approx(0.9936, abs=6e-5)


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 10**6), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_never_less_than_the_gaussian_of_the_same_deviation(
    sixteenths: int, num_shares: int, squared_bound: int, participations: int
) -> None:
    shares = released(
        sigma=Fraction(8 + sixteenths, 16), num_shares=num_shares, squared_bound=squared_bound, vector_length=100
    )
    spent = spent_on_sums(shares, participations, 1e-6)
    central = privacy_spent(shares.noise_multiplier, participations, 1e-6)
    assert spent.epsilon >= central.epsilon * (1 - 1e-9)
    assert spent.rho >= central.rho * (1 - 1e-9)


@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(1), Fraction(10)])
def test_fewer_shares_protect_less(sigma: Fraction) -> None:
    spent = [spent_on_sums(released(sigma=sigma, num_shares=count), 1, 1e-6) for count in (20, 50, 100)]
    assert spent[0].rho > spent[1].rho > spent[2].rho or sigma == Fraction(1, 2)  # there tau counts for more
    assert all(math.isfinite(one.rho) and one.rho > 0 for one in spent)


def test_narrow_shares_of_many_coordinates_hardly_protect() -> None:
    """sigma = 1/2, 100 shares, a thousand coordinates: tau d is 9,701, and the statement must say so."""
    narrow = released(sigma=Fraction(1, 2), squared_bound=100)
    assert narrow.rho > 1000 * (1 / (2 * narrow.noise_multiplier**2))
    assert spent_on_sums(narrow, 1, 1e-6).epsilon > 1000


def test_nobody_who_took_no_part_spends_anything() -> None:
    assert spent_on_sums(released(), 0, 1e-6) == (0.0, 1e-6, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": Fraction(0)},
        {"sigma": Fraction(-1)},
        {"sigma": Fraction(49, 100)},
        {"num_shares": 0},
        {"num_shares": 1_000_001},
        {"squared_bound": 0},
        {"vector_length": 0},
    ],
    ids=str,
)
def test_absurd_sums_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        released(**change)


@pytest.mark.parametrize(("participations", "delta"), [(-1, 0.1), (1, 0.0), (1, 1.0), (1, -0.1), (1, math.nan)])
def test_absurd_questions_are_refused(participations: int, delta: float) -> None:
    with pytest.raises(ValueError, match=r"(participations|delta) must be"):
        spent_on_sums(released(), participations, delta)


@pytest.mark.parametrize("order", [1.0, 0.5, math.nan, math.inf])
def test_absurd_orders_are_refused(order: float) -> None:
    with pytest.raises(ValueError, match="order must be a finite number > 1, got"):
        released().renyi(order)
