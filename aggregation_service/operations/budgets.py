"""What a population's privacy budget still pays for."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from aggregation_service.config import ServiceConfig
from aggregation_service.coordination.budget import any_exceeded, exceeds_budget, limits_of
from aggregation_service.coordination.noise import costliest_release
from aggregation_service.operations.shared import opened, require_population
from aggregation_service.privacy.accounting import PrivacySpent, spent_on_worst_device
from aggregation_service.privacy.ledger import CorrelatedSumReleased
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.mechanisms.sensitivity import MOST_ROUNDS
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.storage import books, models
from aggregation_service.storage.models import Task
from aggregation_service.storage.noise_streams import mechanism_of, observed

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
      affordable: participations in all that the budget pays for at the active task's fresh noise, at most
        `MOST_PARTICIPATIONS`; None without a budget or a task, or where noise is correlated.
      rounds_left: of correlated noise, whose cost is that of the whole stream: rounds that the budget still pays for
        even if one device takes part as often as it may; None where noise is not correlated, or without a budget.
      noise_multiplier: of the active task, None without one.
      lasts_s: no budget ends sooner than this, by the task's minimum separation; None where `affordable` is.

    """

    population: str
    spent: PrivacySpent
    epsilon_budget: float | None
    participations: int
    affordable: int | None
    rounds_left: int | None = None
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
        affordable = rounds_left = None
        if budget is not None and task is not None:
            if isinstance(mechanism_of(task), Independent):
                affordable = _affordable(connection, task, participations, config.privacy_delta)
            else:
                rounds_left = _rounds_left(connection, task, participations, config.privacy_delta)
        return BudgetOutlook(
            population=population,
            spent=spent_on_worst_device(books.list_events(connection, population), config.privacy_delta),
            epsilon_budget=budget,
            participations=participations,
            affordable=affordable,
            rounds_left=rounds_left,
            noise_multiplier=None if task is None else task.plan.privacy.noise_multiplier,
            lasts_s=None if task is None or affordable is None else _lasts_s(task, affordable - participations),
        )


def _lasts_s(task: Task, participations_left: int) -> float:
    """The first of them may come at once, each later one a minimum separation after the one before."""
    return max(participations_left - 1, 0) * task.plan.privacy.minimum_separation_s


def _affordable(connection: Connection, task: Task, participations: int, delta: float) -> int:
    """The largest number of participations within the budget: what is spent grows with them."""

    def exceeds(count: int) -> bool:
        return exceeds_budget(connection, task, participations=count, delta=delta)

    return _last_within(exceeds, participations, MOST_PARTICIPATIONS)


def _rounds_left(connection: Connection, task: Task, participations: int, delta: float) -> int:
    """The largest number of further steps of a stream within the budget: what is spent grows with them, too."""
    events, limits = books.list_events(connection, task.population), limits_of(connection, task, delta)
    first, most = costliest_release(connection, task, events, participations + 1), observed(connection, task.id)[0]
    if not isinstance(first, CorrelatedSumReleased):  # a stream without noise, which no budget pays for
        return 0

    def exceeds(count: int) -> bool:
        return any_exceeded(limits, [*events, *_next_steps(task, first, count, most=most)])

    return _last_within(exceeds, 0, MOST_ROUNDS - first.step)


def _next_steps(task: Task, first: CorrelatedSumReleased, count: int, *, most: int) -> list[CorrelatedSumReleased]:
    """The costliest next steps of a stream: a device that took part `most` often does so as soon as it may again."""
    separation, limit = first.min_separation, task.parameters.max_participations or MOST_ROUNDS
    # Rounding adds to the norm with every step; a stream is charged at the largest, so all may say the last one's.
    multiplier, norm = sum_noise(task.plan, task.parameters).in_stream(first.mechanism, first.step + count)
    steps = []
    for number in range(first.step, first.step + count):
        soonest = min(most + 1 + (number - first.step) // separation, 1 + number // separation)
        participations = max(most, min(soonest, limit))
        changes = {
            "step": number,
            "stream_participations": participations,
            "max_participations": max(first.max_participations, participations),
            "noise_multiplier": multiplier,
            "l2_clip_norm": norm,
        }
        steps.append(msgspec.structs.replace(first, **changes))
    return steps


def _last_within(exceeds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low` to `high` that does not exceed; `low` is taken not to. Long steps, then halves."""
    step = 1
    while low + step <= high and not exceeds(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, high + 1)
    while high - low > 1:  # low is affordable, high is not, or beyond the last
        middle = (low + high) // 2
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return low
