"""Wide shares are as good as one Gaussian: how far from it, at the widest that any ledger may hold."""

import math
from fractions import Fraction

import pytest

from aggregation_service.privacy.shares import SumOfShares
from protocol.distributed_noise import MIN_SHARE_SIGMA


def released(sigma: Fraction, num_shares: int) -> SumOfShares:
    return SumOfShares(sigma=sigma, num_shares=num_shares, squared_bound=100, vector_length=1 << 25)


def test_a_million_participations_in_the_largest_sums_change_no_digit() -> None:
    worst = released(MIN_SHARE_SIGMA, 4096)
    assert 1e6 * worst.vector_length * worst.divergence < 1e-24


def test_the_gaussian_has_a_little_less_noise() -> None:
    shares = released(Fraction(10), 25)
    assert shares.gaussian_multiplier == pytest.approx(math.sqrt((2500 - 9) / 100), rel=1e-9)
    assert shares.gaussian_multiplier < shares.noise_multiplier
    assert released(Fraction(3), 1).gaussian_multiplier == 0


def test_narrow_shares_are_not_taken_for_a_gaussian() -> None:
    with pytest.raises(ValueError, match="sigma must be >= 3 to be accounted as a Gaussian, got 5/2"):
        _ = released(Fraction(5, 2), 4).gaussian_multiplier
