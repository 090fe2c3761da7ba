"""A population's privacy budget: training stops before the round that would exceed it, and says so."""

from typing import Any

import pytest

from aggregation_service import audit, operations
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.storage import models
from protocol.messages import ComeBack

POPULATION = "en-gb"
DELTA = 1e-10


def set_budget(rehearsal: Any, epsilon: float) -> None:
    with rehearsal.service.database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(epsilon_budget=epsilon))


def take_part(rehearsal: Any, device_id: str) -> Any:
    answer = rehearsal.post_check_in(device_id)
    if not isinstance(answer, ComeBack):
        rehearsal.report(answer, rehearsal.update())
    return answer


@pytest.mark.parametrize("participations", [1, 3])
def test_training_stops_before_the_round_that_would_exceed_the_budget(
    rehearsal: Any, plans: Any, participations: int
) -> None:
    rehearsal.create_task(plans(goal=1, noise=2.0))
    set_budget(rehearsal, privacy_spent(2.0, participations, DELTA).epsilon * 1.0001)
    device_id = rehearsal.enrol()
    for _ in range(participations):
        take_part(rehearsal, device_id)
    answer = take_part(rehearsal, device_id)
    assert isinstance(answer, ComeBack)
    assert answer.reason == "no_task"
    summary = rehearsal.summary()
    assert summary["epsilon"] <= summary["epsilon_budget"]
    assert summary["task_ended_because"] == "budget_spent"
    assert [entry["phase"] for entry in summary["rounds"]] == ["closed"] * participations
    with rehearsal.service.database.read() as connection:
        audit.verify(connection)
        told = [entry for entry in audit.list_entries(connection) if entry.action == "task.budget_spent"]
    assert [(entry.actor, entry.subject) for entry in told] == [("service", POPULATION)]


def test_without_noise_a_budget_allows_no_round(rehearsal: Any, plans: Any) -> None:
    set_budget(rehearsal, 1000.0)
    rehearsal.create_task(plans(noise=0.0))
    assert rehearsal.post_check_in().reason == "no_task"


def test_a_budget_lowered_during_a_round_stops_its_release(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=2, noise=2.0))
    cohort = [rehearsal.select() for _ in range(2)]
    rehearsal.report(cohort[0], rehearsal.update())
    set_budget(rehearsal, privacy_spent(2.0, 1, DELTA).epsilon * 0.999)
    rehearsal.report(cohort[1], rehearsal.update())
    summary = rehearsal.summary()
    assert [(entry["phase"], entry["abandoned_because"]) for entry in summary["rounds"]] == [
        ("abandoned", "budget_spent")
    ]
    assert (summary["epsilon"], summary["model_version"]) == (0, 0)
    assert summary["task_ended_because"] == "budget_spent"
    assert operations.privacy_statement(rehearsal.config, POPULATION) is None


def test_a_larger_budget_and_a_new_task_go_on(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=1, noise=2.0)
    rehearsal.create_task(plan)
    set_budget(rehearsal, 0.001)
    assert rehearsal.post_check_in().reason == "no_task"
    set_budget(rehearsal, 100.0)
    assert rehearsal.post_check_in().reason == "no_task"  # a task that has ended stays so
    rehearsal.create_task(plan)
    rehearsal.select()
