"""Populations, their tasks, and the checkpoints that training leaves behind."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, case, func, select, update

from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.optimizer import ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.files import put_file
from aggregation_service.storage.tables import checkpoints, files, populations, rounds, tasks
from protocol.manifest import FileEntry
from protocol.plan import Plan, decode_plan, encode_plan

TaskKind = Literal["training", "evaluation", "discovery"]
EndReason = Literal["replaced", "budget_spent", "completed", "cancelled"]
"""Why a task ended. `replaced`: by a newer one of its kind. `budget_spent`: its next round would exceed the policy.
`completed`: it was an evaluation or a discovery's level, and its round closed; training is never completed.
`cancelled`: by an operator."""

_TRAINING_LAST: tuple[TaskKind, ...] = ("evaluation", "discovery", "training")
_TRAINING_FIRST: tuple[TaskKind, ...] = ("evaluation", "training", "discovery")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a population trains, evaluates or votes on. Only `ended_at` and `ended_because` ever change, once.

    `candidate_version` and `baseline_version` are an evaluation's: the model versions that it compares.
    """

    id: int
    population: str
    kind: TaskKind
    plan: Plan
    plan_file: FileEntry
    training_graph_sha256: str
    vocabulary_sha256: str | None
    parameters: RoundParameters
    optimizer: ServerOptimizer
    candidate_version: int | None = None
    baseline_version: int | None = None
    ended_at: float | None = None
    ended_because: EndReason | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model version.

    Attributes:
      model_version: from 0.
      file_sha256: its exact float32 file.
      served_sha256: the smaller file that devices train from; None where that is the exact one.
      optimizer_state: little-endian float32 bytes; None for all zero.

    """

    model_version: int
    file_sha256: str
    optimizer_state: bytes | None
    served_sha256: str | None = None

    @property
    def device_sha256(self) -> str:
        """The file that devices train from."""
        return self.served_sha256 or self.file_sha256


def add_population(connection: Connection, name: str, now: float) -> None:
    """Adds a population."""
    connection.execute(populations.insert().values(name=name, created_at=now))


def has_population(connection: Connection, name: str) -> bool:
    """Whether a population exists."""
    return connection.scalar(select(populations.c.name).where(populations.c.name == name)) is not None


def get_policy(connection: Connection, name: str) -> PopulationPolicy:
    """A population's policy."""
    text = connection.execute(select(populations.c.policy).where(populations.c.name == name)).scalar_one()
    return msgspec.json.decode(text, type=PopulationPolicy)


def set_policy(connection: Connection, name: str, policy: PopulationPolicy) -> None:
    """Replaces a population's policy; whoever calls writes it into the audit log."""
    text = msgspec.json.encode(policy).decode()
    connection.execute(update(populations).where(populations.c.name == name).values(policy=text))


def list_populations(connection: Connection) -> list[str]:
    """Names of all populations, sorted."""
    return list(connection.scalars(select(populations.c.name).order_by(populations.c.name)))


def add_task(
    connection: Connection,
    *,
    population: str,
    plan: Plan,
    training_graph: bytes,
    vocabulary: bytes | None,
    parameters: RoundParameters,
    optimizer: ServerOptimizer,
    now: float,
    kind: TaskKind = "training",
    candidate_version: int | None = None,
    baseline_version: int | None = None,
) -> int:
    """Adds a task and ends those of its kind before it.

    Returns:
      Its id.

    """
    _end_tasks(connection, (tasks.c.population == population) & (tasks.c.kind == kind), "replaced", now)
    row = {
        "population": population,
        "kind": kind,
        "plan_sha256": put_file(connection, encode_plan(plan)).sha256,
        "training_graph_sha256": put_file(connection, training_graph).sha256,
        "vocabulary_sha256": None if vocabulary is None else put_file(connection, vocabulary).sha256,
        "parameters": msgspec.json.encode(parameters).decode(),
        "optimizer": msgspec.json.encode(optimizer).decode(),
        "candidate_version": candidate_version,
        "baseline_version": baseline_version,
        "created_at": now,
    }
    task_id: int = connection.execute(tasks.insert().values(row).returning(tasks.c.id)).scalar_one()
    return task_id


def end_task(connection: Connection, task_id: int, because: EndReason, now: float) -> None:
    """Ends a task; one that has ended stays as it is."""
    _end_tasks(connection, tasks.c.id == task_id, because, now)


def newest_task(connection: Connection, population: str) -> Task | None:
    """The newest training task, ended or not: the model is what it trains."""
    of_population = (tasks.c.population == population) & (tasks.c.kind == "training")
    task_id = connection.scalar(select(tasks.c.id).where(of_population).order_by(tasks.c.id.desc()).limit(1))
    return None if task_id is None else get_task(connection, task_id)


def active_task_id(connection: Connection, population: str) -> int | None:
    """The id of the task whose round is next; None where all have ended.

    An evaluation is before a discovery, and that before training; but after a round of a discovery it is training's
    turn, so that a discovery which waits for devices does not keep the model waiting.
    """
    turn = _TRAINING_FIRST if _last_round_kind(connection, population) == "discovery" else _TRAINING_LAST
    return _first_running(connection, population, turn)


def endable_task_id(connection: Connection, population: str) -> int | None:
    """The id of the task that an operator who ends one means: an evaluation, else a discovery, else training."""
    return _first_running(connection, population, _TRAINING_LAST)


def find_running(connection: Connection, population: str, kind: TaskKind) -> int | None:
    """The id of the task of that kind that has not ended; None where there is none."""
    running = (tasks.c.population == population) & (tasks.c.kind == kind) & tasks.c.ended_at.is_(None)
    task_id: int | None = connection.scalar(select(tasks.c.id).where(running))
    return task_id


def active_task(connection: Connection, population: str) -> Task | None:
    """The task whose round is next, as `active_task_id`."""
    task_id = active_task_id(connection, population)
    return None if task_id is None else get_task(connection, task_id)


def get_task(connection: Connection, task_id: int) -> Task:
    """Reads one task."""
    joined = select(tasks, files.c.content).join(files, files.c.sha256 == tasks.c.plan_sha256)
    row = connection.execute(joined.where(tasks.c.id == task_id)).one()
    return Task(
        id=row.id,
        population=row.population,
        kind=cast(TaskKind, row.kind),
        plan=decode_plan(row.content),
        plan_file=FileEntry.of(row.content),
        training_graph_sha256=row.training_graph_sha256,
        vocabulary_sha256=row.vocabulary_sha256,
        parameters=msgspec.json.decode(row.parameters, type=RoundParameters),
        optimizer=msgspec.json.decode(row.optimizer, type=ServerOptimizer),
        candidate_version=row.candidate_version,
        baseline_version=row.baseline_version,
        ended_at=row.ended_at,
        ended_because=row.ended_because,
    )


def with_clip_norm(task: Task, l2_clip_norm: float) -> Task:
    """The task with the plan of a round that has its own clipping norm, C > 0, in units of weight change."""
    privacy = msgspec.structs.replace(task.plan.privacy, l2_clip_norm=l2_clip_norm)
    plan = msgspec.structs.replace(task.plan, privacy=privacy)
    return replace(task, plan=plan, plan_file=FileEntry.of(encode_plan(plan)))


def newest_checkpoint(connection: Connection, population: str) -> Checkpoint | None:
    """The newest model version."""
    versions = select(checkpoints).where(checkpoints.c.population == population)
    row = connection.execute(versions.order_by(checkpoints.c.model_version.desc()).limit(1)).one_or_none()
    return None if row is None else _checkpoint(row)


def newest_version(connection: Connection, population: str) -> int | None:
    """The newest model version's number, without its row."""
    of_population = checkpoints.c.population == population
    version: int | None = connection.scalar(select(func.max(checkpoints.c.model_version)).where(of_population))
    return version


def find_checkpoint(connection: Connection, population: str, model_version: int) -> Checkpoint | None:
    """One model version."""
    version = (checkpoints.c.population == population) & (checkpoints.c.model_version == model_version)
    row = connection.execute(select(checkpoints).where(version)).one_or_none()
    return None if row is None else _checkpoint(row)


def has_checkpoint(connection: Connection, population: str, model_version: int) -> bool:
    """Whether the population has this model version; one that was pruned it has not."""
    version = (checkpoints.c.population == population) & (checkpoints.c.model_version == model_version)
    return connection.scalar(select(checkpoints.c.model_version).where(version)) is not None


def add_checkpoint(
    connection: Connection,
    population: str,
    *,
    content: bytes,
    optimizer_state: bytes | None,
    now: float,
    served: bytes | None = None,
) -> int:
    """Stores the next model version and drops the optimiser state of the one before.

    Args:
      connection: a write transaction.
      population: an existing one.
      content: the exact float32 file.
      optimizer_state: little-endian float32 bytes, None for all zero.
      now: seconds since 1970.
      served: what devices train from, where it is not `content`.

    Returns:
      The new version: 0 for the population's first.

    """
    previous = newest_checkpoint(connection, population)
    version = 0 if previous is None else previous.model_version + 1
    connection.execute(update(checkpoints).where(checkpoints.c.population == population).values(optimizer_state=None))
    row = {
        "population": population,
        "model_version": version,
        "file_sha256": put_file(connection, content).sha256,
        "served_sha256": None if served is None else put_file(connection, served).sha256,
        "optimizer_state": optimizer_state,
        "created_at": now,
    }
    connection.execute(checkpoints.insert().values(row))
    return version


def _first_running(connection: Connection, population: str, turns: tuple[TaskKind, ...]) -> int | None:
    running = (tasks.c.population == population) & tasks.c.ended_at.is_(None)
    turn = case({kind: place for place, kind in enumerate(turns)}, value=tasks.c.kind)
    task_id: int | None = connection.scalar(
        select(tasks.c.id).where(running).order_by(turn, tasks.c.id.desc()).limit(1)
    )
    return task_id


def _last_round_kind(connection: Connection, population: str) -> str | None:
    """Of the population's newest round that has ended."""
    ended = select(tasks.c.kind).join(rounds, rounds.c.task_id == tasks.c.id)
    ended = ended.where(rounds.c.population == population, rounds.c.ended_at.is_not(None))
    kind: str | None = connection.scalar(ended.order_by(rounds.c.number.desc()).limit(1))
    return kind


def _end_tasks(connection: Connection, which: ColumnElement[bool], because: EndReason, now: float) -> None:
    running = update(tasks).where(which, tasks.c.ended_at.is_(None))
    connection.execute(running.values(ended_at=now, ended_because=because))


def _checkpoint(row: Row[Any]) -> Checkpoint:
    return Checkpoint(
        model_version=row.model_version,
        file_sha256=row.file_sha256,
        optimizer_state=row.optimizer_state,
        served_sha256=row.served_sha256,
    )
