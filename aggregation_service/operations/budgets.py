"""What a population's privacy budget still pays for."""

from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service.config import ServiceConfig
from aggregation_service.coordination.budget import exceeds_budget
from aggregation_service.operations.shared import opened, require_population
from aggregation_service.privacy.accounting import PrivacySpent, spent_on_worst_device
from aggregation_service.storage import books, models
from aggregation_service.storage.models import Task

MOST_PARTICIPATIONS = 1 << 20
"""No outlook goes further: at any separation worth its name these are centuries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetOutlook:
    """Spent, allowed and left, for the device that took part most often.

    Attributes:
      population: whose.
      spent: by the ledger.
      epsilon_budget: of the policy; None for no bound.
      participations: reports accepted so far of the device that took part most often.
      affordable: participations in all that the budget pays for at the active task's noise, at most
        `MOST_PARTICIPATIONS`; None without a budget or a task.
      noise_multiplier: of the active task, None without one.
      lasts_s: no budget ends sooner than this, by the task's minimum separation; None where `affordable` is.

    """

    population: str
    spent: PrivacySpent
    epsilon_budget: float | None
    participations: int
    affordable: int | None
    noise_multiplier: float | None
    lasts_s: float | None


def budget_outlook(config: ServiceConfig, population: str) -> BudgetOutlook:
    """Says what the population's budget still pays for.

    Raises:
      OperationError: unknown population.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        budget = models.get_policy(connection, population).epsilon_budget
        task = models.active_task(connection, population)
        participations = books.max_participations(connection, population)
        affordable = None
        if budget is not None and task is not None:
            affordable = _affordable(connection, task, participations, config.privacy_delta)
        return BudgetOutlook(
            population=population,
            spent=spent_on_worst_device(books.list_events(connection, population), config.privacy_delta),
            epsilon_budget=budget,
            participations=participations,
            affordable=affordable,
            noise_multiplier=None if task is None else task.plan.privacy.noise_multiplier,
            lasts_s=None if task is None or affordable is None else _lasts_s(task, affordable - participations),
        )


def _lasts_s(task: Task, participations_left: int) -> float:
    """The first of them may come at once, each later one a minimum separation after the one before."""
    return max(participations_left - 1, 0) * task.plan.privacy.minimum_separation_s


def _affordable(connection: Connection, task: Task, participations: int, delta: float) -> int:
    """The largest number of participations within the budget, by bisection: what is spent grows with them."""

    def exceeds(count: int) -> bool:
        return exceeds_budget(connection, task, participations=count, delta=delta)

    low, high = participations, MOST_PARTICIPATIONS
    if exceeds(low + 1):
        return low
    if not exceeds(high):
        return high
    while high - low > 1:  # low is affordable, high is not
        middle = (low + high) // 2
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return low
