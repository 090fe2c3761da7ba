"""What an operator is told without having asked."""

from dataclasses import replace
from typing import Any

import pytest

from aggregation_service.dashboard.views.budget import BudgetView
from aggregation_service.dashboard.views.concerns import OVERDUE_S, read_concerns
from aggregation_service.dashboard.views.rounds import RoundView
from aggregation_service.operations.tasks import end_task
from aggregation_service.storage import models
from tests.aggregation_service.conftest import POPULATION, START

NOTHING_SPENT = BudgetView(spent=0.0, delta=1e-10, limit=None)
CLOSED = RoundView(
    id="0" * 32,
    number=1,
    kind="training",
    phase="closed",
    abandoned_because=None,
    model_version=0,
    selected=10,
    cohort_size=10,
    reported=8,
    report_goal=8,
    shortened=0,
    opened_at=START,
    deadline_at=START + 600,
    ended_at=START + 100,
    bytes_up=1,
    result=None,
)
OPEN = replace(CLOSED, number=2, phase="reporting", ended_at=None)


def concerns(rehearsal: Any, *recent: RoundView, budget: BudgetView = NOTHING_SPENT, at: float = START) -> list[str]:
    with rehearsal.service.database.read() as connection:
        found = read_concerns(connection, POPULATION, recent=recent, budget=budget, now=at)
    return [f"{concern.level}: {concern.text}" for concern in found]


def test_nothing_is_amiss(rehearsal: Any) -> None:
    assert concerns(rehearsal) == []
    assert concerns(rehearsal, CLOSED, OPEN) == []


@pytest.mark.parametrize(
    ("found", "late_s", "told"),
    [
        (OPEN, OVERDUE_S, []),
        (replace(OPEN, selected=0), 10_000, []),  # a standing round waits for its first device
        (CLOSED, 10_000, []),
        (OPEN, 300, ["alarm: No coordinator for 5 min: round 2 should have ended. Is it running?"]),
    ],
)
def test_a_round_that_nobody_ends(rehearsal: Any, found: RoundView, late_s: float, told: list[str]) -> None:
    assert concerns(rehearsal, found, at=found.deadline_at + late_s) == told


@pytest.mark.parametrize(
    ("spent", "limit", "told"),
    [
        (7.9, 10.0, []),
        (8.0, 10.0, ["caution: The privacy budget is nearly spent (ε 8 of 10); training will stop with it."]),
        (10.0, 10.0, ["alarm: The privacy budget is spent (ε 10 of 10): training has stopped."]),
        (float("inf"), 10.0, ["alarm: The privacy budget is spent (ε unbounded of 10): training has stopped."]),
        (float("inf"), None, []),
    ],
)
def test_the_budget(rehearsal: Any, spent: float, limit: float | None, told: list[str]) -> None:
    assert concerns(rehearsal, budget=BudgetView(spent=spent, delta=1e-10, limit=limit)) == told


def test_training_that_was_stopped_by_the_budget_is_told_though_some_is_left(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    with rehearsal.service.database.write() as connection:
        models.end_task(connection, 1, "budget_spent", START)
    assert concerns(rehearsal, budget=BudgetView(spent=5.0, delta=1e-10, limit=10.0))[0].startswith("alarm: ")


def test_a_task_that_an_operator_ended_is_no_concern(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    end_task(rehearsal.config, POPULATION)
    assert concerns(rehearsal, budget=BudgetView(spent=5.0, delta=1e-10, limit=10.0)) == []


def test_abandoned_rounds_are_counted_by_reason(rehearsal: Any) -> None:
    few = replace(CLOSED, phase="abandoned", abandoned_because="too_few_reports")
    lost = replace(few, abandoned_because="key_lost")
    replaced = replace(few, abandoned_because="task_replaced")
    first, second = concerns(rehearsal, CLOSED, few, lost, few, replaced, OPEN)
    assert first.startswith("caution: 2 of the last 5 rounds abandoned, too few reports: give devices more time")
    assert second.startswith("caution: 1 of the last 5 rounds abandoned, key lost: the coordinating process ended")
    assert concerns(rehearsal, replace(few, abandoned_because="not_known_here"))[0].endswith("not known here.")
