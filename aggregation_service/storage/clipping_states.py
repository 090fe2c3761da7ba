"""Clipping norms that adapt, at rest: that of each task's next round. Nothing here is secret: a plan says its norm."""

from sqlalchemy import Connection, delete, select

from aggregation_service.privacy.adaptive_clipping import (
    ClippingParameters,
    ClippingState,
    WrongClippingState,
    initial_state,
    read_state,
)
from aggregation_service.storage.models import Task, with_clip_norm
from aggregation_service.storage.tables import clipping_states


def clipping_of(task: Task) -> ClippingParameters | None:
    """How a task's clipping norm adapts; None where it does not. That of an evaluation never does."""
    return task.parameters.adaptive_clipping if task.kind == "training" else None


def find_state(connection: Connection, task: Task, clipping: ClippingParameters) -> ClippingState:
    """The state of a task's next round: as stored, or, before its first, with the norm of its plan.

    Raises:
      WrongClippingState: what is stored cannot be read, is of another task, or not between floor and ceiling.

    """
    found = select(clipping_states.c.state).where(clipping_states.c.task_id == task.id)
    stored: str | None = connection.scalar(found)
    if stored is None:
        return initial_state(clipping, _context(task), task.plan.privacy.l2_clip_norm)
    return read_state(clipping, _context(task), stored.encode())


def put_state(connection: Connection, task: Task, state: ClippingState) -> None:
    """Writes a task's state in place of the one before."""
    connection.execute(delete(clipping_states).where(clipping_states.c.task_id == task.id))
    connection.execute(clipping_states.insert().values(task_id=task.id, state=state.to_bytes().decode()))


def for_next_round(connection: Connection, task: Task) -> Task:
    """The task with the plan of its next round: its own, but for a clipping norm that has adapted.

    Raises:
      WrongClippingState: as `find_state`.

    """
    clipping = clipping_of(task)
    if clipping is None:
        return task
    return with_clip_norm(task, find_state(connection, task, clipping).l2_clip_norm)


def for_display(connection: Connection, task: Task) -> Task:
    """As `for_next_round`, but with the plan's own norm where what is stored is wrong: its next round will not be."""
    try:
        return for_next_round(connection, task)
    except WrongClippingState:
        return task


def _context(task: Task) -> str:
    return f"task {task.id}"
