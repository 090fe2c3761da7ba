"""How a plan's updates are summed: chosen so that a group is safe, and its values have the fewest bits that will do."""

from typing import Any

import msgspec
import pytest

from aggregation_service.operations.aggregation import (
    check_groups,
    for_evaluation,
    require_noise,
    with_noise_by_devices,
    with_noise_by_service,
    with_plain_updates,
    with_secure_aggregation,
)
from aggregation_service.operations.shared import OperationError
from aggregation_service.rounds.parameters import RoundParameters
from protocol.errors import MalformedMessage
from protocol.plan import Plan, SecureAggregationParameters
from protocol.secure_aggregation.sizing import size_group

PARAMETERS = RoundParameters(minimum_reports=1, over_selection=1.0)


@pytest.mark.parametrize(("goal", "members", "bits"), [(20, 20, 12), (128, 128, 12), (137, 128, 12)])
def test_values_have_the_fewest_bits_that_leave_fifteen_steps(plans: Any, goal: int, members: int, bits: int) -> None:
    plan = with_secure_aggregation(plans(goal=goal), PARAMETERS)
    assert plan.secure_aggregation is not None
    assert (plan.secure_aggregation.max_members, plan.secure_aggregation.value_bits) == (members, bits)
    assert plan.quantiser is not None
    assert plan.quantiser.largest_value >= 15
    check_groups(plan, PARAMETERS)


def test_larger_cohorts_are_several_groups(plans: Any) -> None:
    secure = with_secure_aggregation(plans(goal=5000), PARAMETERS).secure_aggregation
    assert secure is not None
    assert (secure.min_members, secure.max_members) == (32, 128)


def test_the_smallest_group_is_safe(plans: Any) -> None:
    secure = with_secure_aggregation(plans(goal=8), PARAMETERS).secure_aggregation
    assert secure is not None
    size_group(
        secure.min_members,
        adversary_fraction=secure.adversary_fraction,
        dropout_fraction=secure.dropout_fraction,
        mode=secure.mode,
    )
    assert secure.min_members == 5


def test_a_cohort_too_small_for_any_group_is_refused(plans: Any) -> None:
    with pytest.raises(OperationError, match="a cohort of 4 devices is too small"):
        with_secure_aggregation(plans(goal=4), PARAMETERS)


def test_a_plan_that_says_how_stays_as_it_is(plans: Any) -> None:
    secure = SecureAggregationParameters(value_bits=24, min_members=5, max_members=9)
    plan: Plan = plans(goal=20, secure_aggregation=secure)
    assert with_secure_aggregation(plan, PARAMETERS) == plan
    assert with_plain_updates(plan) == plans(goal=20)


def test_an_evaluation_has_all_bits(plans: Any) -> None:
    plan = with_secure_aggregation(plans(goal=20), PARAMETERS)
    assert for_evaluation(plan).secure_aggregation.value_bits == 32  # type: ignore[union-attr]
    assert for_evaluation(plans()) == plans()


@pytest.mark.parametrize(
    ("secure", "message"),
    [
        ({"min_members": 21, "max_members": 30}, "at least min_members, 21, got 20"),
        ({"min_members": 2, "max_members": 4}, "a group of 4 devices has no safe graph"),
    ],
)
def test_a_cohort_that_can_form_no_group_is_refused(plans: Any, secure: dict[str, Any], message: str) -> None:
    plan = plans(goal=20, secure_aggregation=SecureAggregationParameters(value_bits=16, **secure))
    with pytest.raises(OperationError, match=message):
        check_groups(plan, PARAMETERS)
    check_groups(plans(goal=20), PARAMETERS)


def test_noise_by_devices_has_groups_that_count_on_most_of_their_members(plans: Any) -> None:
    plan = with_noise_by_devices(plans(goal=100, noise=1.0), RoundParameters(minimum_reports=1))
    secure, shared = plan.secure_aggregation, plan.shared_noise
    assert secure is not None
    assert shared is not None
    assert (secure.min_members, secure.max_members, secure.mode) == (96, 128, "malicious")
    assert shared.num_honest == 96 - 5 - 1, "of 101: 90 stay, of whom six are corrupt; of 97 one fewer is"
    assert shared.quantiser.l2_bound <= 1.02
    require_noise(plan, PARAMETERS)
    check_groups(plan, PARAMETERS)
    assert with_noise_by_service(plan).shared_noise is None
    assert with_noise_by_devices(plan, PARAMETERS) == plan


def test_no_fewer_bits_would_do(plans: Any) -> None:
    plan = with_noise_by_devices(plans(goal=100, noise=1.0), PARAMETERS)
    assert plan.secure_aggregation is not None
    bits = plan.secure_aggregation.value_bits - 1
    fewer = msgspec.structs.replace(
        plan, secure_aggregation=msgspec.structs.replace(plan.secure_aggregation, value_bits=bits)
    )
    assert fewer.l2_sensitivity > 1.02


@pytest.mark.parametrize(("goal", "noise", "told"), [(100, 0.0, "noise_multiplier must be > 0"), (4, 1.0, "too small")])
def test_noise_that_devices_cannot_make_is_refused(plans: Any, goal: int, noise: float, told: str) -> None:
    with pytest.raises(OperationError, match=told):
        with_noise_by_devices(plans(goal=goal, noise=noise), PARAMETERS)


def test_groups_that_leave_noise_no_room_are_refused(plans: Any) -> None:
    secure = SecureAggregationParameters(value_bits=8, min_members=60, max_members=100)
    with pytest.raises(MalformedMessage, match=r"value_bits must leave noise of 5\.0 norms room, got 8"):
        with_noise_by_devices(plans(goal=100, noise=5.0, secure_aggregation=secure), PARAMETERS)


def test_an_evaluation_keeps_noise_by_devices(plans: Any) -> None:
    plan = for_evaluation(with_noise_by_devices(plans(goal=100, noise=1.0), PARAMETERS))
    assert plan.shared_noise is not None
    assert plan.quantiser is not None
    assert plan.quantiser.value_bits == 32
