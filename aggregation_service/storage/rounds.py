"""Rounds and the assignments of their cohorts."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from aggregation_service.rounds.groups import GroupFailure
from aggregation_service.rounds.state import OPEN_PHASES, REPORTING_PHASES, AbandonReason, Phase, Round, abandon
from aggregation_service.storage import secure_groups
from aggregation_service.storage.clipping_states import clipping_of
from aggregation_service.storage.models import Task, get_task, with_clip_norm
from aggregation_service.storage.tables import assignments, partial_sums, rounds
from protocol.manifest import SignedManifest, decode_manifest

_GROUPS_END = {AbandonReason.KEY_LOST: GroupFailure.KEY_LOST}
"""Why the groups of an abandoned round fail, where it is not just that it is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """A round as stored: its state, and what was frozen when it opened.

    Attributes:
      task: what the round is for, with the plan that its devices have.
      sealing_key: the public half, 32 bytes, of the key that its partial sums are sealed to; None of rounds that the
        skeleton left.
      max_participations: the population's observed maximum at the time of the round's newest report.
      result: what an evaluation found, as JSON.

    """

    id: str
    population: str
    number: int
    task: Task
    model_version: int
    manifest: SignedManifest
    state: Round
    sealing_key: bytes | None = None
    bytes_up: int = 0
    max_participations: int = 0
    result: str | None = None


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
    """Stores a standing round."""
    row = {
        "id": record.id,
        "population": record.population,
        "number": record.number,
        "task_id": record.task.id,
        "model_version": record.model_version,
        "manifest": record.manifest.manifest,
        "signature": record.manifest.signature,
        "l2_clip_norm": None if clipping_of(record.task) is None else record.task.plan.privacy.l2_clip_norm,
        **_changing_columns(record),
    }
    connection.execute(rounds.insert().values(row))


def save_round(connection: Connection, record: RoundRecord) -> bool:
    """Writes what may change of an open round; what was frozen when it was made is left alone.

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


def population_of(connection: Connection, round_id: str) -> str | None:
    """The population that a round belongs to."""
    population: str | None = connection.scalar(select(rounds.c.population).where(rounds.c.id == round_id))
    return population


def find_round(connection: Connection, round_id: str) -> RoundRecord | None:
    """A round by its id."""
    row = connection.execute(select(rounds).where(rounds.c.id == round_id)).one_or_none()
    return None if row is None else _record(connection, row)


def get_sealing_key(connection: Connection, round_id: str) -> bytes | None:
    """The public half of the key that a round's sums are sealed to."""
    key: bytes | None = connection.scalar(select(rounds.c.sealing_key).where(rounds.c.id == round_id))
    return key


def add_bytes(connection: Connection, round_id: str, num_bytes: int) -> None:
    """Counts bytes of messages that were taken, in a transaction that locked the population."""
    counted = update(rounds).where(rounds.c.id == round_id)
    connection.execute(counted.values(bytes_up=rounds.c.bytes_up + num_bytes))


def list_rounds(connection: Connection, population: str) -> list[RoundRecord]:
    """All rounds of a population that ever had a device, oldest first."""
    with_devices = (rounds.c.population == population) & (rounds.c.selected > 0)
    ordered = select(rounds).where(with_devices).order_by(rounds.c.number)
    tasks: dict[int, Task] = {}
    return [_record(connection, row, tasks) for row in connection.execute(ordered).all()]


def list_taking_reports(connection: Connection, round_ids: Collection[str]) -> set[str]:
    """Which of these rounds still take reports."""
    taking = rounds.c.id.in_(round_ids) & rounds.c.phase.in_(REPORTING_PHASES)
    return set(connection.scalars(select(rounds.c.id).where(taking)))


def retire_open_round(connection: Connection, population: str, reason: AbandonReason, now: float) -> RoundRecord | None:
    """Ends the open round, because something that it was made from has changed: task, model or policy.

    A standing round, which no device has seen, is deleted, as if it had never been made.

    Args:
      connection: a write transaction that has locked the population.
      population: an existing one.
      reason: told if devices were selected already.
      now: seconds since 1970.

    Returns:
      The round if it was abandoned.

    """
    record = find_open_round(connection, population)
    if record is None:
        return None
    connection.execute(delete(partial_sums).where(partial_sums.c.round_id == record.id))
    secure_groups.end_all(connection, record.id, _GROUPS_END.get(reason, GroupFailure.ROUND_OVER), now)
    if record.state.is_standing:
        connection.execute(delete(rounds).where(rounds.c.id == record.id))
        return None
    record = replace(record, state=abandon(record.state, reason, now))
    save_round(connection, record)
    return record


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


def list_unreported(connection: Connection, round_id: str, assignment_ids: Collection[str]) -> set[str]:
    """Which of these assignments of a round have not reported yet."""
    waiting = (assignments.c.round_id == round_id) & assignments.c.reported.is_(False)
    found = select(assignments.c.id).where(waiting, assignments.c.id.in_(assignment_ids))
    return set(connection.scalars(found))


def mark_reported(connection: Connection, assignment_ids: Collection[str]) -> None:
    """Notes that reports of these assignments were accepted."""
    connection.execute(update(assignments).where(assignments.c.id.in_(assignment_ids)).values(reported=True))


def with_round_plan(task: Task, l2_clip_norm: float | None, manifest: bytes | None) -> Task:
    """The task with the plan that a round's devices have.

    Args:
      task: the round's, as stored.
      l2_clip_norm: the round's; None where it is the task's, and then `manifest` is not needed.
      manifest: the round's, which names the plan.

    """
    if l2_clip_norm is None or manifest is None:
        return task
    return replace(with_clip_norm(task, l2_clip_norm), plan_file=decode_manifest(manifest).files["plan"])


def _changing_columns(record: RoundRecord) -> dict[str, object]:
    state = record.state
    return {
        "phase": state.phase,
        "abandoned_because": state.abandoned_because,
        "sealing_key": record.sealing_key,
        "result": record.result,
        "opened_at": state.opened_at,
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
    task = with_round_plan(tasks[row.task_id], row.l2_clip_norm, row.manifest)
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
        sealing_key=row.sealing_key,
        bytes_up=row.bytes_up,
        max_participations=row.max_participations,
        result=row.result,
    )
