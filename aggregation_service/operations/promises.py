"""What plans promise their devices: the population's budget, frozen with the task.

A plan's promise cannot be taken back, so a budget is not raised above what a running task promises: the task is ended
first, and the next one says the new budget to each device, whose owner may refuse it. `coordination.budget` keeps to
both, the policy's budget and the promise, whatever became of settings since.
"""

import msgspec
from sqlalchemy import Connection, select

from aggregation_service.operations.shared import OperationError
from aggregation_service.policy import PopulationPolicy
from aggregation_service.storage import models
from aggregation_service.storage.tables import tasks
from protocol.plan import Plan, PrivacyPromise


def with_promise(connection: Connection, population: str, plan: Plan, delta: float) -> Plan:
    """The plan as it promises the population's budget, or nothing where there is none.

    Args:
      connection: a transaction that has locked the population, so that no policy changes meanwhile.
      population: an existing one.
      plan: a promise in it is replaced: it may be of a task from before the policy's last change.
      delta: in (0, 1), at which the service tells epsilon.

    """
    budget = models.get_policy(connection, population).epsilon_budget
    promise = None if budget is None else PrivacyPromise(max_epsilon=budget, delta=delta)
    return msgspec.structs.replace(plan, privacy=msgspec.structs.replace(plan.privacy, promise=promise))


def check_promises_kept(connection: Connection, population: str, policy: PopulationPolicy) -> None:
    """Checks that a new policy allows no more than running tasks promise.

    Raises:
      OperationError: it would; the message says what to do.

    """
    running = (tasks.c.population == population) & tasks.c.ended_at.is_(None)
    for task_id in connection.scalars(select(tasks.c.id).where(running).order_by(tasks.c.id)).all():
        promise = models.get_task(connection, task_id).plan.privacy.promise
        budget = policy.epsilon_budget
        if promise is not None and (budget is None or budget > promise.max_epsilon):
            raise OperationError(
                f"epsilon_budget must be <= {promise.max_epsilon:g}, which task {task_id} promises its devices, "
                f"got {'none' if budget is None else format(budget, 'g')}: end the task first"
            )
