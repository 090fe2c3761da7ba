"""Tasks that a robust rule or correlated noise do not go with are refused, each in one sentence, without a trace."""

from typing import Any

import pytest

from aggregation_service import audit, operations
from aggregation_service.operations.aggregation import with_secure_aggregation
from aggregation_service.operations.clipping import with_count_noise
from aggregation_service.operations.shared import OperationError
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz, Tree
from aggregation_service.rounds.combining import Mean, Median, RobustRule, TrimmedMean
from aggregation_service.rounds.parameters import RoundParameters

RULES = [Median(), TrimmedMean(trim=0.2)]


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def refusal(rehearsal: Any, plan: Any, **parameters: Any) -> str:
    with pytest.raises(OperationError) as refused:
        rehearsal.create_task(plan, **parameters)
    with pytest.raises(OperationError, match="no task yet"):
        operations.current_checkpoint(rehearsal.config, "en-gb")
    return str(refused.value)


@pytest.mark.parametrize("rule", RULES)
def test_a_robust_rule_goes_with_plain_updates_without_noise_only(rehearsal: Any, plans: Any, rule: RobustRule) -> None:
    secure = with_secure_aggregation(plans(goal=30), RoundParameters(minimum_reports=3))
    hidden = refusal(rehearsal, secure, minimum_reports=3, combining=rule)
    assert hidden == f"a {rule.name} needs each update, which secure aggregation hides: take plain updates"
    noised = refusal(rehearsal, plans(goal=30, noise=0.5), minimum_reports=3, combining=rule)
    assert noised == f"noise_multiplier must be 0 for a {rule.name}, whose sensitivity is not known, got 0.5"


@pytest.mark.parametrize("rule", RULES)
def test_a_robust_rule_needs_enough_updates_and_not_too_many(rehearsal: Any, plans: Any, rule: RobustRule) -> None:
    few = refusal(rehearsal, plans(goal=30), minimum_reports=2, combining=rule)
    assert few == f"minimum_reports must be >= 3 for a {rule.name}, got 2"
    many = refusal(rehearsal, plans(goal=10_001), minimum_reports=3, combining=rule)
    assert many == f"report_goal must be <= 10000 for a {rule.name}, which keeps each update, got 10001"
    rehearsal.create_task(plans(goal=10_000), minimum_reports=3, combining=rule)


def test_a_mean_goes_with_everything(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=20_000, noise=0.5), minimum_reports=1, combining=Mean())


@pytest.mark.parametrize("mechanism", [Tree(restart_every=4), BufferedToeplitz(decays=(0.9,), scales=(0.5,))])
def test_correlated_noise_needs_noise_and_training(rehearsal: Any, plans: Any, mechanism: Any) -> None:
    none = refusal(rehearsal, plans(noise=0.0), mechanism=mechanism)
    assert none == "noise_multiplier must be > 0 for correlated noise, got 0"
    hits = refusal(rehearsal, plans(noise=1.0, kind="evaluation"), mechanism=mechanism)
    assert hits == "kind must be training for correlated noise, got evaluation"
    rehearsal.create_task(plans(noise=1.0), mechanism=mechanism)


def test_noise_that_cannot_be_made_is_refused(rehearsal: Any, plans: Any) -> None:
    tiny = refusal(rehearsal, plans(noise=1e-20, clip=1e-20))
    assert tiny.startswith(
        "the plan's noise cannot be made: noise_deviation must be between 7.89e-31 and 1.27e+30, got"
    )
    many = refusal(rehearsal, plans(noise=1.0, goal=9_999_999))
    assert many == "the plan's noise cannot be made: max_reports must be 1 to 10000000, got 12999999"


def test_the_audit_log_keeps_the_mechanism(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(noise=1.0), mechanism=Tree(restart_every=4), separation_rounds=3, max_participations=2)
    with rehearsal.service.database.read() as connection:
        (entry,) = [entry for entry in audit.list_entries(connection) if entry.action == "task.created"]
    told = {"mechanism": {"kind": "tree", "restart_every": 4}, "separation_rounds": 3, "max_participations": 2}
    assert told.items() <= entry.details.items()


CLIPPING = ClippingParameters(floor=0.1, ceiling=10.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"combining": Median()}, "combining must be the mean for adaptive clipping, got the coordinate-wise median"),
        ({"mechanism": Tree(restart_every=4)}, "noise must be independent for adaptive clipping, got correlated noise"),
    ],
    ids=["a robust rule", "correlated noise"],
)
def test_adaptive_clipping_goes_with_fresh_noise_on_a_mean_only(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoundParameters(minimum_reports=1, adaptive_clipping=CLIPPING, **changes)


def test_adaptive_clipping_needs_noise_and_training(plans: Any) -> None:
    with pytest.raises(OperationError, match="noise_multiplier must be > 0 for adaptive clipping, got 0"):
        with_count_noise(plans(noise=0.0), 5.0)
    with pytest.raises(OperationError, match="an evaluation must have no count_noise"):
        with_count_noise(plans(noise=1.0, kind="evaluation"), 5.0)
    with pytest.raises(OperationError, match=r"count_noise must be > half the noise_multiplier, 4\.0, got 4\.0"):
        with_count_noise(plans(noise=8.0), 4.0)


def test_plan_and_parameters_must_agree_on_adaptive_clipping(rehearsal: Any, plans: Any) -> None:
    plan = with_count_noise(plans(noise=1.0), 5.0)
    unwanted = refusal(rehearsal, plan)
    assert unwanted == "count_noise must be left out of a plan whose clipping does not adapt, got 5.0"
    missing = refusal(rehearsal, plans(noise=1.0), adaptive_clipping=CLIPPING)
    assert missing == "the plan must have a count_noise for adaptive clipping, got none"


@pytest.mark.parametrize(
    ("floor", "ceiling", "message"),
    [
        (1.5, 2.0, "the plan's l2_clip_norm must be between the floor of 1.5 and the ceiling of 2, got 1"),
        (0.1, 0.5, "the plan's l2_clip_norm must be between the floor of 0.1 and the ceiling of 0.5, got 1"),
        (0.1, 2000.0, "clipping cannot adapt: "),  # beyond what any device accepts
        (1e-40, 2.0, "the plan's noise cannot be made: "),
    ],
)
def test_floor_and_ceiling_must_be_norms_that_rounds_can_have(
    rehearsal: Any, plans: Any, floor: float, ceiling: float, message: str
) -> None:
    clipping = ClippingParameters(floor=floor, ceiling=ceiling)
    refused = refusal(rehearsal, with_count_noise(plans(noise=1.0), 5.0), adaptive_clipping=clipping)
    assert refused.startswith(message)


def test_the_audit_log_keeps_how_clipping_adapts(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(with_count_noise(plans(noise=1.0), 5.0), adaptive_clipping=CLIPPING)
    with rehearsal.service.database.read() as connection:
        (entry,) = [entry for entry in audit.list_entries(connection) if entry.action == "task.created"]
    told = {"target_quantile": 0.5, "learning_rate": 0.2, "floor": 0.1, "ceiling": 10.0}
    assert entry.details["adaptive_clipping"] == told
    assert entry.details["new_privacy"]["count_noise"] == 5.0
