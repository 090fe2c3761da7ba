"""Making a service, and the command that runs it."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError

from aggregation_service import audit
from aggregation_service.config import (
    CONFIG_VARIABLE,
    ConfigError,
    ServiceConfig,
    create_session_key,
    create_signing_key,
    load_signing_key,
    render_config,
)
from aggregation_service.logs import log
from aggregation_service.operations.shared import opened
from aggregation_service.service import clock_of
from aggregation_service.storage.database import Database, upgrade
from protocol.manifest import encode_public_key

LONGEST_PAUSE_S = 30.0
"""How long `prepare_database` waits at most before it asks a database again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePaths:
    """Where `initialise` put a service, and the public key that its devices are enrolled with."""

    config_path: Path
    signing_key_path: Path
    session_key_path: Path
    public_key_path: Path
    public_key: str


def initialise(
    folder: Path, *, clock_path: Path | None = None, privacy_delta: float = 1e-10, database_url: str | None = None
) -> ServicePaths:
    """Makes a service in `folder`: configuration, signing key and its public half, session key, SQLite database.

    Args:
      folder: made if missing, readable by its owner only.
      clock_path: a `FileClock`'s file, for rehearsals in virtual time.
      privacy_delta: the delta at which epsilon is told.
      database_url: an existing, empty database of PostgreSQL; None for a SQLite file in `folder`.

    Raises:
      ConfigError: there is a service already, or `privacy_delta` is not in (0, 1).
      UnsupportedDatabase: `database_url` is neither SQLite's nor PostgreSQL's.

    """
    folder = folder.absolute()
    names = ("service.toml", "signing.key", "session.key", "service.sqlite", "public_key.txt")
    paths = tuple(folder / name for name in names)
    config_path, signing_key_path, session_key_path, database_path, public_key_path = paths
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists already; a service is made in a folder without one")
    config = ServiceConfig(
        database_url=database_url or f"sqlite:///{database_path}",
        signing_key_path=signing_key_path,
        session_key_path=session_key_path,
        clock_path=None if clock_path is None else clock_path.absolute(),
        privacy_delta=privacy_delta,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = create_signing_key(signing_key_path)
    create_session_key(session_key_path)
    migrate(config)
    config_path.touch(mode=0o600)  # the database's URL may hold a password
    config_path.write_text(render_config(config), encoding="utf-8")
    public_half = encode_public_key(key.public_key())
    public_key_path.write_text(f"{public_half}\n", encoding="ascii")
    return ServicePaths(
        config_path=config_path,
        signing_key_path=signing_key_path,
        session_key_path=session_key_path,
        public_key_path=public_key_path,
        public_key=public_half,
    )


def make_session_key(config: ServiceConfig, *, replace: bool, actor: str = "cli") -> Path:
    """Makes the key that operators' sessions are signed with.

    Args:
      config: the service.
      replace: whether a key that is there is replaced, which ends all sessions once the service is restarted.
      actor: whom the audit log names.

    Returns:
      Where it is.

    Raises:
      ConfigError: there is a key already, and it is not to be replaced.

    """
    path = config.session_key_path
    now, details = clock_of(config).now(), {"replace": replace}
    with opened(config) as database, database.write() as connection:
        audit.record(connection, actor=actor, action="session_key.made", subject="service", details=details, now=now)
        if replace:
            path.unlink(missing_ok=True)
        create_session_key(path)
    return path


def record_privacy_delta(config: ServiceConfig, actor: str = "cli") -> None:
    """Tells the audit log at which delta the service tells epsilon, and stops its tasks, if that is news."""
    action, details = "privacy_delta.set", {"privacy_delta": config.privacy_delta}
    with opened(config) as database, database.write() as connection:
        last = audit.newest_of(connection, action)
        if last is None or last.details != details:
            now = clock_of(config).now()
            audit.record(connection, actor=actor, action=action, subject="service", details=details, now=now)


def public_key(config: ServiceConfig) -> str:
    """The key that devices verify this service's manifests with, as 64 hexadecimal digits."""
    return encode_public_key(load_signing_key(config.signing_key_path).public_key())


def migrate(config: ServiceConfig) -> None:
    """Brings the database's tables to this version.

    Raises:
      OutdatedDatabase: rows would lack what they refer to.

    """
    database = Database(config.database_url)
    try:
        upgrade(database)
    finally:
        database.close()


def prepare_database(config: ServiceConfig, actor: str = "cli") -> None:
    """Before a start: `migrate` and `record_privacy_delta`.

    A database that cannot be reached is asked again, for ever, after pauses that grow: an outage may last longer than
    whoever starts the service would go on starting it.

    Raises:
      OutdatedDatabase: as `migrate`.

    """
    pause_s = 1.0
    while True:
        try:
            migrate(config)
            record_privacy_delta(config, actor)
        except OperationalError as error:
            because = str(error.orig).partition("\n")[0]
            log.error("database_unreachable, next try in %g s: %s", pause_s, because)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            return


def server_environment(config_path: Path) -> dict[str, str]:
    """The environment of `gunicorn_command`: this process's, and the configuration's path."""
    return {**os.environ, CONFIG_VARIABLE: str(config_path.absolute())}


def gunicorn_command(*, host: str = "127.0.0.1", port: int = 8080, threads: int = 12, workers: int = 1) -> list[str]:
    """The command that serves, in the environment that `server_environment` gives.

    Workers, because a process uses little more than one core; threads, because devices wait for the network. Where the
    clock is a file there must be one worker: others would learn only by polling, in real time, what is due.
    """
    return [
        *(sys.executable, "-m", "gunicorn", "--config", "python:aggregation_service.gunicorn_settings"),
        *("--bind", f"{host}:{port}", "--workers", str(workers), "--threads", str(threads)),
    ]
