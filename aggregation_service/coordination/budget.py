"""The privacy budget: no round is made, and none released, that would cost more than the population's policy says."""

from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.logs import log_event
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.storage import books, models
from aggregation_service.storage.models import Task

ACTOR = "service"
"""Who is said in the audit log to have done what no person did."""


def exceeds_budget(connection: Connection, task: Task, *, participations: int, delta: float) -> bool:
    """Whether one more release of `task` would cost more than the population's policy allows.

    Args:
      connection: a transaction.
      task: whose noise the release would have.
      participations: of the device that would then have taken part most often.
      delta: in (0, 1), at which epsilon is told.

    Guarantees:
      Answers what the ledger will say once the release is in it.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    budget = models.get_policy(connection, task.population).epsilon_budget
    if budget is None:
        return False
    privacy = task.plan.privacy
    release = GaussianSumReleased(
        round_id="0" * 32,  # of no round: nothing of this event is stored
        model_version=0,
        num_reports=1,
        max_participations=participations,
        noise_multiplier=privacy.noise_multiplier,
        l2_clip_norm=task.plan.l2_sensitivity,
    )
    return spent_on_worst_device([*books.list_events(connection, task.population), release], delta).epsilon > budget


def affordable_task(connection: Connection, population: str, delta: float, now: float) -> Task | None:
    """The task whose round is next; ends those whose next round the budget does not allow.

    The worst case is assumed: that the device which took part most often takes part again.
    """
    participations = books.max_participations(connection, population) + 1
    while (task := models.active_task(connection, population)) is not None:
        if not exceeds_budget(connection, task, participations=participations, delta=delta):
            return task
        models.end_task(connection, task.id, "budget_spent", now)
        log_event("task_ended", population=population, task=task.id, kind=task.kind, because="budget_spent")
        details = {"task": task.id, "kind": task.kind, "participations": participations, "delta": delta}
        audit.record(connection, actor=ACTOR, action="task.budget_spent", subject=population, details=details, now=now)
    return None
