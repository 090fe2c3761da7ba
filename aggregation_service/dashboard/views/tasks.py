"""Tasks with their parameters: what changes privacy apart from what changes only learning and speed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from aggregation_service.storage.clipping_states import for_display
from aggregation_service.storage.models import get_task
from aggregation_service.storage.tables import tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    """One task; parameters by their names in the plan.

    Attributes:
      kind: "training", "evaluation" or "discovery".
      privacy: clipping, noise, report goal, minimum separation; a clipping norm that adapts is the next round's.
      rounds: minimum of reports, over-selection, timeouts.
      training: what a device is told about its work.
      optimizer: the server's.
      ended_because: None while rounds may be opened for it.
      candidate_version: the model version that an evaluation measures.
      baseline_version: what it is compared with.

    """

    id: int
    kind: str
    num_weights: int
    privacy: dict[str, Any]
    rounds: dict[str, Any]
    training: dict[str, Any]
    optimizer: dict[str, Any]
    created_at: float
    ended_at: float | None
    ended_because: str | None
    candidate_version: int | None
    baseline_version: int | None


def list_tasks(connection: Connection, population: str, limit: int = 10) -> tuple[TaskView, ...]:
    """A population's tasks, those that run before those that have ended, newest first."""
    found = select(tasks).where(tasks.c.population == population)
    newest = found.order_by(tasks.c.ended_at.is_not(None), tasks.c.id.desc()).limit(limit)
    return tuple(_view(connection, row) for row in connection.execute(newest).all())


def _view(connection: Connection, row: Row[Any]) -> TaskView:
    task = for_display(connection, get_task(connection, row.id))
    return TaskView(
        id=row.id,
        kind=row.kind,
        num_weights=task.plan.num_weights,
        privacy=msgspec.structs.asdict(task.plan.privacy),
        rounds=msgspec.to_builtins(task.parameters),
        training=msgspec.structs.asdict(task.plan.training),
        optimizer=msgspec.to_builtins(task.optimizer),
        created_at=row.created_at,
        ended_at=row.ended_at,
        ended_because=row.ended_because,
        candidate_version=row.candidate_version,
        baseline_version=row.baseline_version,
    )
