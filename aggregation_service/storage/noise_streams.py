"""Streams of correlated noise at rest: their sealed states, and who took part in them; see `coordination.noise`."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, literal, select, update

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.storage.models import Task
from aggregation_service.storage.tables import assignments, noise_states, stream_participation, tasks


class StatePart(NamedTuple):
    """A part of a stream's state, and the number of the stream's next step."""

    part: int
    step: int
    sealed: bytes


class Observed(NamedTuple):
    """What a stream's participations were so far.

    Attributes:
      participations: the most reports of one device; 0 before the first step.
      least_gap: the fewest steps from one report of a device to its next; None as long as none has two.

    """

    participations: int
    least_gap: int | None


class Standing(NamedTuple):
    """One device's participations in a stream, and the step of its last."""

    participations: int
    last_step: int


def mechanism_of(task: Task) -> Mechanism:
    """How the noise of a task's rounds is correlated. That of an evaluation never is: its sums are no steps."""
    return task.parameters.mechanism if task.kind == "training" else Independent()


def put_state(connection: Connection, task_id: int, parts: Iterable[StatePart]) -> None:
    """Writes a stream's state in place of the one before, part by part: `parts` may be made one after the other."""
    connection.execute(delete(noise_states).where(noise_states.c.task_id == task_id))
    for part in parts:
        connection.execute(noise_states.insert().values(task_id=task_id, **part._asdict()))


def list_parts(connection: Connection, task_id: int) -> list[int]:
    """The numbers of the parts that a stream's state has, in order; none before its first step."""
    of_task = select(noise_states.c.part).where(noise_states.c.task_id == task_id)
    return list(connection.scalars(of_task.order_by(noise_states.c.part)))


def get_part(connection: Connection, task_id: int, part: int) -> StatePart:
    """Reads one part."""
    found = select(noise_states).where(noise_states.c.task_id == task_id, noise_states.c.part == part)
    row = connection.execute(found).one()
    return StatePart(row.part, row.step, row.sealed)


def next_step(connection: Connection, task_id: int) -> int:
    """The number of a stream's next step, as its state says it; 0 before the first."""
    return connection.scalar(select(func.max(noise_states.c.step)).where(noise_states.c.task_id == task_id)) or 0


def note_step(connection: Connection, task_id: int, round_id: str, step: int) -> int:
    """Counts one participation of each device whose report was accepted in the round.

    Returns:
      How many there are.

    """
    reported = (assignments.c.round_id == round_id) & assignments.c.reported
    devices = select(assignments.c.device_id).where(reported)
    before = stream_participation.c
    gap = step - before.last_step
    again = update(stream_participation).where(before.task_id == task_id, before.device_id.in_(devices))
    connection.execute(
        again.values(
            participations=before.participations + 1,
            last_step=step,
            least_gap=case((before.least_gap < gap, before.least_gap), else_=gap),
        )
    )
    known = select(before.device_id).where(before.task_id == task_id)
    columns = (literal(task_id), assignments.c.device_id, literal(1), literal(step))
    first = select(*columns).where(reported, assignments.c.device_id.not_in(known))
    names = ["task_id", "device_id", "participations", "last_step"]
    connection.execute(stream_participation.insert().from_select(names, first))
    return connection.execute(select(func.count()).select_from(assignments).where(reported)).scalar_one()


def observed(connection: Connection, task_id: int) -> Observed:
    """What was observed in a stream so far, over all devices."""
    columns = (func.max(stream_participation.c.participations), func.min(stream_participation.c.least_gap))
    most, least_gap = connection.execute(select(*columns).where(stream_participation.c.task_id == task_id)).one()
    return Observed(most or 0, least_gap)


def find_standing(connection: Connection, task_id: int, device_id: str) -> Standing | None:
    """One device's participations in a stream; None if it has none."""
    columns = (stream_participation.c.participations, stream_participation.c.last_step)
    row = connection.execute(select(*columns).where(_device(task_id, device_id))).one_or_none()
    return None if row is None else Standing(row.participations, row.last_step)


def forget_streams(connection: Connection, population: str) -> None:
    """Lets every stream of a population begin anew: what they were is not known any more."""
    of_population = select(tasks.c.id).where(tasks.c.population == population)
    for table in (noise_states, stream_participation):
        connection.execute(delete(table).where(table.c.task_id.in_(of_population)))


def forget_ended(connection: Connection, population: str) -> None:
    """Deletes the states of tasks that have ended, which are as secret as their noise, and of no more use."""
    ended = select(tasks.c.id).where(tasks.c.population == population, tasks.c.ended_at.is_not(None))
    connection.execute(delete(noise_states).where(noise_states.c.task_id.in_(ended)))


def list_ended(connection: Connection) -> list[str]:
    """Populations that hold states of tasks that have ended, by name."""
    held = select(tasks.c.population).join(noise_states, noise_states.c.task_id == tasks.c.id)
    ended = held.where(tasks.c.ended_at.is_not(None))
    return list(connection.scalars(ended.distinct().order_by(tasks.c.population)))


def _device(task_id: int, device_id: str) -> ColumnElement[bool]:
    return and_(stream_participation.c.task_id == task_id, stream_participation.c.device_id == device_id)
