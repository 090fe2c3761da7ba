"""Populations, their tasks, and the checkpoints that training leaves behind."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select, update

from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.optimizer import ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.files import put_file
from aggregation_service.storage.tables import checkpoints, files, populations, tasks
from protocol.manifest import FileEntry
from protocol.plan import Plan, decode_plan, encode_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a population trains. Never changes: a new one replaces it."""

    id: int
    population: str
    plan: Plan
    plan_file: FileEntry
    training_graph_sha256: str
    vocabulary_sha256: str | None
    parameters: RoundParameters
    optimizer: ServerOptimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model version: its file, and the optimiser's state as little-endian float32 bytes (None: all zero)."""

    model_version: int
    file_sha256: str
    optimizer_state: bytes | None


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
) -> None:
    """Makes a task the population's newest, which is the one it trains."""
    row = {
        "population": population,
        "plan_sha256": put_file(connection, encode_plan(plan)).sha256,
        "training_graph_sha256": put_file(connection, training_graph).sha256,
        "vocabulary_sha256": None if vocabulary is None else put_file(connection, vocabulary).sha256,
        "parameters": msgspec.json.encode(parameters).decode(),
        "optimizer": msgspec.json.encode(optimizer).decode(),
        "created_at": now,
    }
    connection.execute(tasks.insert().values(row))


def newest_task(connection: Connection, population: str) -> Task | None:
    """The task that the population trains."""
    newest = select(tasks.c.id).where(tasks.c.population == population).order_by(tasks.c.id.desc()).limit(1)
    task_id = connection.scalar(newest)
    return None if task_id is None else get_task(connection, task_id)


def get_task(connection: Connection, task_id: int) -> Task:
    """Reads one task."""
    joined = select(tasks, files.c.content).join(files, files.c.sha256 == tasks.c.plan_sha256)
    row = connection.execute(joined.where(tasks.c.id == task_id)).one()
    return Task(
        id=row.id,
        population=row.population,
        plan=decode_plan(row.content),
        plan_file=FileEntry.of(row.content),
        training_graph_sha256=row.training_graph_sha256,
        vocabulary_sha256=row.vocabulary_sha256,
        parameters=msgspec.json.decode(row.parameters, type=RoundParameters),
        optimizer=msgspec.json.decode(row.optimizer, type=ServerOptimizer),
    )


def newest_checkpoint(connection: Connection, population: str) -> Checkpoint | None:
    """The newest model version."""
    versions = select(checkpoints).where(checkpoints.c.population == population)
    row = connection.execute(versions.order_by(checkpoints.c.model_version.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return Checkpoint(model_version=row.model_version, file_sha256=row.file_sha256, optimizer_state=row.optimizer_state)


def has_checkpoint(connection: Connection, population: str, model_version: int) -> bool:
    """Whether the population has, or had, this model version."""
    version = (checkpoints.c.population == population) & (checkpoints.c.model_version == model_version)
    return connection.scalar(select(checkpoints.c.model_version).where(version)) is not None


def add_checkpoint(
    connection: Connection, population: str, *, content: bytes, optimizer_state: bytes | None, now: float
) -> int:
    """Stores the next model version and drops the optimiser state of the one before.

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
        "optimizer_state": optimizer_state,
        "created_at": now,
    }
    connection.execute(checkpoints.insert().values(row))
    return version
