"""What an operator should know without having asked, each with what to do about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from aggregation_service.dashboard.figures import counted, duration, epsilon, words
from aggregation_service.dashboard.views.budget import BudgetView
from aggregation_service.dashboard.views.rounds import RoundView
from aggregation_service.storage.tables import tasks

OVERDUE_S = 30.0
"""A coordinator that lives closes a round within a second of its deadline; another takes over within ten."""

_REMEDIES = {
    "too_few_devices": "let a cohort gather for longer, or lower the report goal",
    "too_few_reports": "give devices more time to report, or select more of them",
    "sum_lost": "the coordinating process ended; look at its log",
    "key_lost": "the coordinating process ended; look at its log",
    "task_replaced": "a newer task took over",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Concern:
    """One sentence and its urgency: "alarm" stops training, "caution" will."""

    level: Literal["caution", "alarm"]
    text: str


def read_concerns(
    connection: Connection, population: str, *, recent: Sequence[RoundView], budget: BudgetView, now: float
) -> tuple[Concern, ...]:
    """What is amiss in a population, most urgent first.

    Args:
      connection: a transaction.
      population: its name.
      recent: its newest rounds, oldest first.
      budget: its privacy spent.
      now: seconds since 1970.

    """
    found = [*_coordinator(recent, now), *_budget(connection, population, budget), *_abandoned(recent)]
    return tuple(sorted(found, key=lambda concern: concern.level != "alarm"))


def _coordinator(recent: Sequence[RoundView], now: float) -> Iterator[Concern]:
    """A round that is open past its deadline, with devices in it, has nobody to close it."""
    for found in recent:
        overdue_s = now - found.deadline_at
        if found.is_open and found.selected and overdue_s > OVERDUE_S:
            text = f"No coordinator for {duration(overdue_s)}: round {found.number} should have ended. Is it running?"
            yield Concern(level="alarm", text=text)


def _budget(connection: Connection, population: str, budget: BudgetView) -> Iterator[Concern]:
    newest = select(tasks.c.ended_because).where(tasks.c.population == population, tasks.c.kind == "training")
    ended_because = connection.scalar(newest.order_by(tasks.c.id.desc()).limit(1))
    if budget.limit is None:
        return
    told = f"ε {epsilon(budget.spent)} of {epsilon(budget.limit)}"
    if ended_because == "budget_spent" or budget.urgency == "alarm":
        yield Concern(level="alarm", text=f"The privacy budget is spent ({told}): training has stopped.")
    elif budget.urgency == "caution":
        yield Concern(level="caution", text=f"The privacy budget is nearly spent ({told}); training will stop with it.")


def _abandoned(recent: Sequence[RoundView]) -> Iterator[Concern]:
    ended = [found for found in recent if not found.is_open]
    reasons = Counter(found.abandoned_because for found in ended if found.is_abandoned)
    reasons.pop("task_replaced", None)  # an operator did that
    for reason, count in reasons.most_common():
        text = f"{count} of the last {counted(len(ended), 'round')} abandoned, {words(reason or 'unknown reason')}"
        remedy = _REMEDIES.get(reason or "", "")
        yield Concern(level="caution", text=f"{text}{': ' + remedy if remedy else ''}.")
