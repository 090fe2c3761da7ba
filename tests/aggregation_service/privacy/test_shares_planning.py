"""Plans of noise by devices: least noise within epsilon, and the error of all shares that are really added."""

import math

import pytest

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.planning import Deployment, plan_noise
from aggregation_service.privacy.shares_planning import plan_shares


def deployment(cohort: int, **changes: float) -> Deployment:
    values = {"devices": 100 * cohort, "rounds": 300, "separation_rounds": 100, "epsilon": 2.0, "delta": 1e-8}
    return Deployment(cohort=cohort, num_weights=10_000, **{**values, **changes})  # type: ignore[arg-type]


def test_the_least_noise_to_five_digits() -> None:
    planned = plan_shares(deployment(128))
    assert planned is not None
    assert planned.epsilon <= 2.0
    assert planned.noise_multiplier == pytest.approx(
        plan_noise(Independent(), deployment(128)).noise_multiplier, rel=2e-4
    )
    assert privacy_spent(planned.noise_multiplier * (1 - 1e-3), 3, 1e-8).epsilon > 2.0
    assert (planned.members, planned.num_honest) == (128, 90)


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_every_group_has_the_whole_noise(groups: int) -> None:
    """So the error is sqrt(groups) times that of one noise, and sqrt(128 / 90) times that for the shares beyond."""
    planned, central = plan_shares(deployment(128 * groups)), plan_noise(Independent(), deployment(128 * groups))
    assert planned is not None
    expected = math.sqrt(groups * 128 / planned.num_honest)
    assert planned.rms_error / central.rms_error == pytest.approx(expected, rel=0.025)
    assert planned.largest_error / central.largest_error == pytest.approx(expected, rel=0.025)


def test_a_cohort_too_small_for_a_group_has_no_plan() -> None:
    assert plan_shares(deployment(4)) is None


def test_more_noise_than_a_plan_may_have_is_refused() -> None:
    with pytest.raises(ValueError, match="the most that a plan may have"):
        plan_shares(deployment(128, epsilon=1e-4))
