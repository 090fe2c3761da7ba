"""Rounds and the assignments of their cohorts."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from aggregation_service.rounds.state import OPEN_PHASES, AbandonReason, Phase, Round
from aggregation_service.storage.models import Task, get_task
from aggregation_service.storage.tables import assignments, rounds
from protocol.manifest import SignedManifest


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """A round as stored: its state, and what was frozen when it opened.

    `max_participations` is the population's observed maximum at the time of the round's newest report.
    """

    id: str
    population: str
    number: int
    task: Task
    model_version: int
    manifest: SignedManifest
    state: Round
    bytes_up: int = 0
    max_participations: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """One device's place in a cohort."""

    id: str
    round_id: str
    device_id: str
    token_sha256: bytes
    reported: bool


def next_number(connection: Connection, population: str) -> int:
    """The number of the population's next round, from 1."""
    return 1 + (connection.scalar(select(func.max(rounds.c.number)).where(rounds.c.population == population)) or 0)


def insert_round(connection: Connection, record: RoundRecord) -> None:
    """Stores a round that just opened."""
    row = {
        "id": record.id,
        "population": record.population,
        "number": record.number,
        "task_id": record.task.id,
        "model_version": record.model_version,
        "manifest": record.manifest.manifest,
        "signature": record.manifest.signature,
        "opened_at": record.state.opened_at,
        **_changing_columns(record),
    }
    connection.execute(rounds.insert().values(row))


def save_round(connection: Connection, record: RoundRecord) -> bool:
    """Writes what may change of an open round; what was frozen when it opened is left alone.

    Returns:
      False, and nothing is written, if the round has ended meanwhile: no round ends twice.

    """
    still_open = update(rounds).where(rounds.c.id == record.id, rounds.c.phase.in_(OPEN_PHASES))
    return connection.execute(still_open.values(_changing_columns(record))).rowcount == 1


def find_open_round(connection: Connection, population: str) -> RoundRecord | None:
    """The population's open round, if there is one."""
    found = select(rounds).where(rounds.c.population == population, rounds.c.phase.in_(OPEN_PHASES))
    row = connection.execute(found).one_or_none()
    return None if row is None else _record(connection, row)


def find_round(connection: Connection, round_id: str) -> RoundRecord | None:
    """A round by its id."""
    row = connection.execute(select(rounds).where(rounds.c.id == round_id)).one_or_none()
    return None if row is None else _record(connection, row)


def list_rounds(connection: Connection, population: str) -> list[RoundRecord]:
    """All rounds of a population, oldest first."""
    ordered = select(rounds).where(rounds.c.population == population).order_by(rounds.c.number)
    tasks: dict[int, Task] = {}
    return [_record(connection, row, tasks) for row in connection.execute(ordered).all()]


def insert_assignment(connection: Connection, assignment: Assignment, now: float) -> None:
    """Stores a device's place in a cohort."""
    row = {
        "id": assignment.id,
        "round_id": assignment.round_id,
        "device_id": assignment.device_id,
        "token_sha256": assignment.token_sha256,
        "reported": assignment.reported,
        "assigned_at": now,
    }
    connection.execute(assignments.insert().values(row))


def find_assignment(connection: Connection, round_id: str, assignment_id: str) -> Assignment | None:
    """An assignment of a round."""
    found = select(assignments).where(assignments.c.id == assignment_id, assignments.c.round_id == round_id)
    row = connection.execute(found).one_or_none()
    if row is None:
        return None
    return Assignment(
        id=row.id, round_id=row.round_id, device_id=row.device_id, token_sha256=row.token_sha256, reported=row.reported
    )


def has_assignment(connection: Connection, round_id: str, device_id: str) -> bool:
    """Whether a device is in a round's cohort."""
    found = select(assignments.c.id).where(assignments.c.round_id == round_id, assignments.c.device_id == device_id)
    return connection.scalar(found) is not None


def mark_reported(connection: Connection, assignment_id: str) -> None:
    """Notes that an assignment's report was accepted."""
    connection.execute(update(assignments).where(assignments.c.id == assignment_id).values(reported=True))


def _changing_columns(record: RoundRecord) -> dict[str, object]:
    state = record.state
    return {
        "phase": state.phase,
        "abandoned_because": state.abandoned_because,
        "deadline_at": state.deadline_at,
        "ended_at": state.ended_at,
        "selected": state.selected,
        "reported": state.reported,
        "shortened": state.shortened,
        "bytes_up": record.bytes_up,
        "max_participations": record.max_participations,
    }


def _record(connection: Connection, row: Row[Any], tasks: dict[int, Task] | None = None) -> RoundRecord:
    """Reads a row; `tasks` saves reading the same task again."""
    tasks = {} if tasks is None else tasks
    if row.task_id not in tasks:
        tasks[row.task_id] = get_task(connection, row.task_id)
    task = tasks[row.task_id]
    reason = row.abandoned_because
    state = Round(
        parameters=task.parameters,
        report_goal=task.plan.privacy.report_goal,
        opened_at=row.opened_at,
        deadline_at=row.deadline_at,
        phase=Phase(row.phase),
        selected=row.selected,
        reported=row.reported,
        shortened=row.shortened,
        ended_at=row.ended_at,
        abandoned_because=None if reason is None else AbandonReason(reason),
    )
    return RoundRecord(
        id=row.id,
        population=row.population,
        number=row.number,
        task=task,
        model_version=row.model_version,
        manifest=SignedManifest(manifest=row.manifest, signature=row.signature),
        state=state,
        bytes_up=row.bytes_up,
        max_participations=row.max_participations,
    )
