"""Privacy spent by round, against the ledger's own total."""

from typing import Any

import pytest

from aggregation_service.dashboard.views.budget import BudgetView, read_budget
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.storage.books import append_event, list_events
from tests.aggregation_service.conftest import POPULATION, START


@pytest.mark.parametrize("noises", [[1.0, 1.0, 1.0], [2.0, 1.0, 4.0], [4.0, 2.0, 1.0]])
def test_each_round_is_the_total_of_the_ledger_up_to_it(rehearsal: Any, noises: list[float]) -> None:
    with rehearsal.service.database.write() as connection:
        for number, noise in enumerate(noises):
            event = GaussianSumReleased(
                round_id=f"{number:032x}",
                model_version=number,
                num_reports=5,
                max_participations=1 + number // 2,
                noise_multiplier=noise,
                l2_clip_norm=1.0,
            )
            append_event(connection, POPULATION, event, START)
        events = list_events(connection, POPULATION)
        found = read_budget(connection, POPULATION, 1e-6)
    told = list(found.by_round.values())
    assert told == [spent_on_worst_device(events[: number + 1], 1e-6).epsilon for number in range(len(events))]
    assert told == sorted(told)
    assert found.spent == told[-1]


@pytest.mark.parametrize(
    ("spent", "limit", "fraction", "urgency"),
    [
        (3.0, None, None, ""),
        (3.0, 10.0, 0.3, ""),
        (8.5, 10.0, 0.85, "caution"),
        (10.0, 10.0, 1.0, "alarm"),
        (float("inf"), 10.0, 1.0, "alarm"),
    ],
)
def test_how_much_of_the_budget(spent: float, limit: float | None, fraction: float | None, urgency: str) -> None:
    budget = BudgetView(spent=spent, delta=1e-6, limit=limit)
    assert (budget.fraction, budget.urgency) == (fraction, urgency)
