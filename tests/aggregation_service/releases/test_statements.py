"""The statement says of which rounds each update was kept, also after its task has gone."""

from typing import Any

import pytest

from aggregation_service import operations
from aggregation_service.privacy.statement import NOT_PROTECTED, PrivacyStatement
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean

KEPT = "each single update from the service, which keeps it, sealed, until its round closes, for the "


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def run_task(rehearsal: Any, plan: Any, rule: Combining, *, rounds: int = 1) -> PrivacyStatement:
    rehearsal.create_task(plan, minimum_reports=3, combining=rule)
    for _ in range(rounds * plan.privacy.report_goal):
        rehearsal.report(rehearsal.select(), rehearsal.update())
    statement = operations.privacy_statement(rehearsal.config, "en-gb")
    assert statement is not None
    return statement


def test_names_the_rules_for_which_updates_were_kept(rehearsal: Any, plans: Any) -> None:
    noised = run_task(rehearsal, plans(noise=1.0), Mean())
    assert (noised.not_protected, noised.mechanism) == (NOT_PROTECTED, "independent Gaussian")
    planned = run_task(rehearsal, plans(), Median(), rounds=0)
    assert planned.not_protected == NOT_PROTECTED  # no device has seen it
    stated = run_task(rehearsal, plans(), Median())
    assert stated.not_protected[0] == KEPT + "coordinate-wise median"
    assert stated.not_protected[2:] == NOT_PROTECTED[1:]
    assert stated.mechanism == (
        "independent Gaussian, and none where the service took the coordinate-wise median of updates"
    )
    assert (stated.epsilon, stated.rho, stated.noise_multiplier) == (None, None, 0.0)


def test_names_rules_of_tasks_that_were_replaced(rehearsal: Any, plans: Any) -> None:
    run_task(rehearsal, plans(), Median())
    run_task(rehearsal, plans(), TrimmedMean(trim=0.2))
    stated = run_task(rehearsal, plans(noise=1.0), Mean())
    assert [sentence.removeprefix(KEPT) for sentence in stated.not_protected if sentence.startswith(KEPT)] == [
        "coordinate-wise mean without the 20 % at each end",
        "coordinate-wise median",
    ]
    assert stated.epsilon is None
