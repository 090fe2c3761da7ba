"""The privacy budget: no round is made, and none released, that would cost more than the population's policy says."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.coordination.noise import costliest_release
from aggregation_service.logs import log_event
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import LedgerEvent
from aggregation_service.storage import books, models
from aggregation_service.storage.clipping_states import for_next_round
from aggregation_service.storage.models import Task
from protocol.plan import PrivacyPromise

ACTOR = "service"
"""Who is said in the audit log to have done what no person did."""


def exceeds_budget(connection: Connection, task: Task, *, participations: int, delta: float) -> bool:
    """Whether one more release of `task` would cost more than the population's policy allows, or its plan promises.

    Args:
      connection: a transaction.
      task: whose noise the release would have.
      participations: of the device that would then have taken part most often.
      delta: in (0, 1), at which epsilon is told.

    Guarantees:
      Answers what the ledger will say once the release is in it. Of a stream, the worst that it may say then: the
      device that took part most often does so again, as early as it may.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    limits = limits_of(connection, task, delta)
    if not limits:
        return False
    events = books.list_events(connection, task.population)
    release = costliest_release(connection, task, events, participations)
    return any_exceeded(limits, [*events, release])


def affordable_task(connection: Connection, population: str, delta: float, now: float) -> Task | None:
    """The task whose round is next; ends those whose next round the budget does not allow.

    The worst case is assumed: that the device which took part most often takes part again.
    """
    participations = books.max_participations(connection, population) + 1
    while (task := models.active_task(connection, population)) is not None:
        task = for_next_round(connection, task)
        if not exceeds_budget(connection, task, participations=participations, delta=delta):
            return task
        models.end_task(connection, task.id, "budget_spent", now)
        log_event("task_ended", population=population, task=task.id, kind=task.kind, because="budget_spent")
        details = {"task": task.id, "kind": task.kind, "participations": participations, "delta": delta}
        audit.record(connection, actor=ACTOR, action="task.budget_spent", subject=population, details=details, now=now)
    return None


def limits_of(connection: Connection, task: Task, delta: float) -> set[PrivacyPromise]:
    """The policy's budget, and what devices were promised: settings may change while a task runs, its promise not."""
    budget, promise = models.get_policy(connection, task.population).epsilon_budget, task.plan.privacy.promise
    limits = set() if budget is None else {PrivacyPromise(max_epsilon=budget, delta=delta)}
    return limits if promise is None else limits | {promise}


def any_exceeded(limits: Iterable[PrivacyPromise], events: Sequence[LedgerEvent]) -> bool:
    """Whether a ledger costs more than any limit, each at its own delta.

    Raises:
      UnknownEvent: the ledger contradicts itself.

    """
    return any(spent_on_worst_device(events, limit.delta).epsilon > limit.max_epsilon for limit in limits)
