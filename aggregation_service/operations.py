"""What an operator does, as plain functions: the command line and rehearsals call these.

They work on the database, beside a running service or without one.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from aggregation_service.config import (
    ConfigError,
    ServiceConfig,
    create_signing_key,
    load_signing_key,
    render_config,
)
from aggregation_service.logs import log_event
from aggregation_service.privacy.statement import PrivacyStatement, make_statement, untrained_statement
from aggregation_service.rounds.optimizer import ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import AbandonReason, abandon
from aggregation_service.service import clock_of
from aggregation_service.storage import books, models, rounds
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.files import find_content, put_file
from aggregation_service.summaries import PopulationSummary, summarise
from protocol.manifest import MAX_FILE_BYTES, Manifest, encode_public_key, sign_manifest
from protocol.messages import PopulationName
from protocol.plan import Plan, decode_plan, encode_plan
from protocol.weights import Weights, check_weights, decode_checkpoint, encode_checkpoint

STATEMENT_FILE = "privacy_statement"
"""The file of a release that says what its training cost in privacy."""


class OperationError(Exception):
    """Something an operator asked for that cannot be done. The message says why, in one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePaths:
    """Where `initialise` put a service, and the public key that its devices are enrolled with."""

    config_path: Path
    signing_key_path: Path
    database_path: Path
    public_key_path: Path
    public_key: str


def initialise(folder: Path, *, clock_path: Path | None = None, privacy_delta: float = 1e-10) -> ServicePaths:
    """Makes a service in `folder`: configuration, signing key and its public half, SQLite database.

    Args:
      folder: made if missing, readable by its owner only.
      clock_path: a `FileClock`'s file, for rehearsals in virtual time.
      privacy_delta: the delta at which epsilon is told.

    Raises:
      ConfigError: there is a service already, or `privacy_delta` is not in (0, 1).

    """
    folder = folder.absolute()
    names = ("service.toml", "signing.key", "service.sqlite", "public_key.txt")
    paths = tuple(folder / name for name in names)
    config_path, signing_key_path, database_path, public_key_path = paths
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists already; a service is made in a folder without one")
    config = ServiceConfig(
        database_url=f"sqlite:///{database_path}",
        signing_key_path=signing_key_path,
        clock_path=None if clock_path is None else clock_path.absolute(),
        privacy_delta=privacy_delta,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = create_signing_key(signing_key_path)
    migrate(config)
    config_path.write_text(render_config(config), encoding="utf-8")
    public_half = encode_public_key(key.public_key())
    public_key_path.write_text(f"{public_half}\n", encoding="ascii")
    return ServicePaths(
        config_path=config_path,
        signing_key_path=signing_key_path,
        database_path=database_path,
        public_key_path=public_key_path,
        public_key=public_half,
    )


def public_key(config: ServiceConfig) -> str:
    """The key that devices verify this service's manifests with, as 64 hexadecimal digits."""
    return encode_public_key(load_signing_key(config.signing_key_path).public_key())


def migrate(config: ServiceConfig) -> None:
    """Brings the database's tables to this version."""
    database = Database(config.database_url)
    try:
        upgrade(database)
    finally:
        database.close()


def add_population(config: ServiceConfig, name: str) -> None:
    """Adds a population: devices that share a vocabulary and a model.

    Raises:
      OperationError: it exists, or its name is not of lower-case letters, digits and hyphens.

    """
    try:
        msgspec.convert(name, PopulationName)
    except msgspec.ValidationError:
        raise OperationError(f"a population's name must be of a-z, 0-9 and '-', at most 63, got {name!r}") from None
    with _opened(config) as database, database.write() as connection:
        if models.has_population(connection, name):
            raise OperationError(f"population {name} exists already")
        models.add_population(connection, name, clock_of(config).now())


def create_task(
    config: ServiceConfig,
    *,
    population: str,
    plan: Plan,
    training_graph: bytes,
    checkpoint: Weights | None,
    parameters: RoundParameters,
    optimizer: ServerOptimizer,
    vocabulary: bytes | None = None,
) -> int:
    """Makes a task the one that the population trains; a round that is open is abandoned, in the open.

    Args:
      config: the service.
      population: an existing one.
      plan: tensors, training and privacy parameters, report goal and minimum separation.
      training_graph: the training `.tflite`, opaque here.
      checkpoint: the weights to start from, which become the next model version (the first is 0); None to go on from
        the population's newest, optimiser state included.
      parameters: what a round does beside the plan.
      optimizer: the server's.
      vocabulary: a file that devices train with, opaque here; named "vocabulary" in the rounds' manifests unless None.

    Returns:
      The model version that training starts from.

    Raises:
      OperationError: unknown population, too many `minimum_reports`, nothing to start from, or a file's size.
      MalformedMessage: a plan that devices would refuse.
      WrongContent: weights that do not fit the plan.

    """
    plan = decode_plan(encode_plan(plan))  # a plan made in a program was not checked against the devices' bounds yet
    _check_goal(parameters, plan.privacy.report_goal)
    _check_size("training_graph", training_graph)
    _check_size("vocabulary", vocabulary)
    if checkpoint is not None:
        check_weights(checkpoint, plan.tensors)
    now = clock_of(config).now()
    with _opened(config) as database, database.write() as connection:
        _require_population(connection, population)
        _abandon_open_round(connection, population, now)
        models.add_task(
            connection,
            population=population,
            plan=plan,
            training_graph=training_graph,
            vocabulary=vocabulary,
            parameters=parameters,
            optimizer=optimizer,
            now=now,
        )
        if checkpoint is not None:
            content = encode_checkpoint(checkpoint)
            return models.add_checkpoint(connection, population, content=content, optimizer_state=None, now=now)
        return _read_checkpoint(connection, population, plan)[0]


def current_checkpoint(config: ServiceConfig, population: str) -> tuple[int, Weights]:
    """Reads the population's newest model version and its weights.

    Raises:
      OperationError: unknown population, or one without a task.

    """
    with _opened(config) as database, database.read() as connection:
        _require_population(connection, population)
        task = models.newest_task(connection, population)
        if task is None:
            raise OperationError(f"population {population} has no task yet")
        return _read_checkpoint(connection, population, task.plan)


def current_version(config: ServiceConfig, population: str) -> int:
    """Reads the population's newest model version, without its weights.

    Raises:
      OperationError: unknown population, or one without weights.

    """
    with _opened(config) as database, database.read() as connection:
        _require_population(connection, population)
        return _newest_checkpoint(connection, population).model_version


def publish_release(
    config: ServiceConfig, *, population: str, files: Mapping[str, bytes], model_version: int | None = None
) -> Manifest:
    """Signs `files` as the population's newest release, with the privacy statement of its training beside them.

    Args:
      config: the service.
      population: an existing one.
      files: by name: lower-case letters, digits, '_' and '.', beginning with a letter; not `STATEMENT_FILE`.
      model_version: the version released; None for the population's newest (0 if it has none).

    Raises:
      OperationError: unknown population or model version, no files, or a file's name or size that cannot be released.

    """
    now = clock_of(config).now()
    key = load_signing_key(config.signing_key_path)
    with _opened(config) as database, database.write() as connection:
        _require_population(connection, population)
        _check_release_files(files)
        delta = config.privacy_delta
        statement = _statement(connection, population, delta) or untrained_statement(delta)
        files = {**files, STATEMENT_FILE: msgspec.json.encode(statement)}
        version = _released_version(connection, population, model_version)
        manifest = Manifest(
            purpose="release",
            population=population,
            model_version=version,
            created_at=int(now),
            files={name: put_file(connection, content) for name, content in files.items()},
        )
        books.add_release(connection, population, version, sign_manifest(manifest, key), now)
    log_event("release_published", population=population, model_version=version)
    return manifest


def privacy_statement(config: ServiceConfig, population: str) -> PrivacyStatement | None:
    """States what the population's training cost in privacy so far; None if nothing was released from devices yet.

    Raises:
      OperationError: unknown population.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    with _opened(config) as database, database.read() as connection:
        _require_population(connection, population)
        return _statement(connection, population, config.privacy_delta)


def summaries(config: ServiceConfig) -> list[PopulationSummary]:
    """Sums up all populations, as the database stands."""
    with _opened(config) as database:
        with database.read() as connection:
            names = models.list_populations(connection)
        return [summarise(database, name, config.privacy_delta) for name in names]


def gunicorn_command(*, host: str = "127.0.0.1", port: int = 8080, threads: int = 8) -> list[str]:
    """The command that serves; its environment must name the configuration (`config.CONFIG_VARIABLE`).

    One worker, because a round's sum lives in its memory; threads, because devices wait for the network.
    """
    return [
        *(sys.executable, "-m", "gunicorn", "aggregation_service.wsgi:app()"),
        *("--bind", f"{host}:{port}", "--workers", "1", "--worker-class", "gthread", "--threads", str(threads)),
        *("--keep-alive", "15", "--graceful-timeout", "10", "--no-control-socket"),
    ]


@contextmanager
def _opened(config: ServiceConfig) -> Iterator[Database]:
    database = Database(config.database_url)
    try:
        yield database
    finally:
        database.close()


def _require_population(connection: Connection, name: str) -> None:
    if not models.has_population(connection, name):
        raise OperationError(f"there is no population {name}; `keychorus service population add {name}` makes it")


def _abandon_open_round(connection: Connection, population: str, now: float) -> None:
    record = rounds.find_open_round(connection, population)
    if record is not None:
        state = abandon(record.state, AbandonReason.TASK_REPLACED, now)
        rounds.save_round(connection, replace(record, state=state))


def _newest_checkpoint(connection: Connection, population: str) -> models.Checkpoint:
    checkpoint = models.newest_checkpoint(connection, population)
    if checkpoint is None:
        raise OperationError(f"population {population} has no weights to start from")
    return checkpoint


def _released_version(connection: Connection, population: str, wanted: int | None) -> int:
    newest = models.newest_checkpoint(connection, population)
    if wanted is None:
        return 0 if newest is None else newest.model_version
    if newest is None:
        raise OperationError(f"population {population} has no model versions yet, got model_version {wanted}")
    if not 0 <= wanted <= newest.model_version or not models.has_checkpoint(connection, population, wanted):
        raise OperationError(f"model_version must be one of 0 to {newest.model_version} of {population}, got {wanted}")
    return wanted


def _read_checkpoint(connection: Connection, population: str, plan: Plan) -> tuple[int, Weights]:
    checkpoint = _newest_checkpoint(connection, population)
    content = find_content(connection, checkpoint.file_sha256)
    if content is None:
        raise OperationError(f"the file of model version {checkpoint.model_version} is missing")
    return checkpoint.model_version, decode_checkpoint(content, plan.tensors)


def _statement(connection: Connection, population: str, delta: float) -> PrivacyStatement | None:
    events = books.list_events(connection, population)
    task = models.newest_task(connection, population)
    if not events or task is None:
        return None
    privacy = task.plan.privacy
    return make_statement(
        events, report_goal=privacy.report_goal, minimum_separation_s=privacy.minimum_separation_s, delta=delta
    )


def _check_release_files(files: Mapping[str, bytes]) -> None:
    if not files:
        raise OperationError("a release must have at least one file, got none")
    for name, content in files.items():
        if not re.fullmatch("[a-z][a-z0-9_.]{0,63}", name):
            raise OperationError(f"a release's file name must be of a-z, 0-9, '_' and '.', got {name!r}")
        if name == STATEMENT_FILE:
            raise OperationError(f"a release's file must not be named {name}, which the service writes itself")
        _check_size(name, content)


def _check_goal(parameters: RoundParameters, report_goal: int) -> None:
    if parameters.minimum_reports > report_goal:
        raise OperationError(f"minimum_reports must be <= report_goal {report_goal}, got {parameters.minimum_reports}")


def _check_size(name: str, content: bytes | None) -> None:
    if content is not None and not 1 <= len(content) <= MAX_FILE_BYTES:
        raise OperationError(f"file {name} must have 1 to {MAX_FILE_BYTES} bytes, got {len(content)}")
