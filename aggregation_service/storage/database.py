"""The database: an engine with explicit read and write transactions, and its migrations."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError

from aggregation_service.storage.sqlite import create_sqlite_engine

MIGRATIONS = Path(__file__).parent / "migrations"
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_POSTGRESQL_OPTIONS = (
    *("-c synchronous_commit=on", "-c lock_timeout=30s"),
    # A process that stands still in a transaction must not hold up all others for ever.
    "-c idle_in_transaction_session_timeout=60s",
    # The server notices within 10 s that a host has vanished: 3 s of silence, then three questions of 2 s.
    *("-c tcp_keepalives_idle=3", "-c tcp_keepalives_interval=2", "-c tcp_keepalives_count=3"),
    "-c tcp_user_timeout=9s",
)
_POSTGRESQL_CONNECTION = {
    "connect_timeout": 5,
    # And a host notices within 10 s that the server has.
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 9000,
    "application_name": "keychorus",
}
_MIGRATION_KEY = int.from_bytes(hashlib.sha256(b"keychorus migration").digest()[:8], "big", signed=True)


class OutdatedDatabase(Exception):
    """A database whose tables are not those of this version."""


class UnsupportedDatabase(ValueError):
    """A database URL that is none, or not one of SQLite's or PostgreSQL's. The message never shows the URL."""


class Database:
    """Owns the connections to one database, of SQLite or PostgreSQL. Thread-safe.

    Guarantees:
      Foreign keys hold; a commit is on the disk when it returns. Errors never show statement parameters. On SQLite a
      write transaction takes the write lock when it begins, so that what it read cannot change before it commits. On
      PostgreSQL it reads what is committed and locks what it asks to (`locks.lock_population`).
    """

    def __init__(self, url: str) -> None:
        """Args: `url` is SQLAlchemy's, `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

        Raises:
          UnsupportedDatabase: it is not.

        """
        self.engine = _create_engine(parse_url(url))
        # SQLite has one writer at a time; of this process's threads only one need ask whether it is its turn.
        self._turn = Lock() if self.engine.dialect.name == "sqlite" else nullcontext()
        self._readers = self.engine.execution_options(**_READING[self.engine.dialect.name])

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; nothing may be written in it."""
        with self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back if an exception leaves it."""
        with self._turn, self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def parse_url(url: str) -> URL:
    """Reads a database URL, and names the driver that this service uses.

    Raises:
      UnsupportedDatabase: not a URL, or neither SQLite's nor PostgreSQL's.

    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UnsupportedDatabase("database_url is not a URL, such as postgresql://USER:PASSWORD@HOST/NAME") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise UnsupportedDatabase(f"database_url must begin with sqlite: or postgresql:, got {parsed.drivername}:")
    if driver == "sqlite" and (parsed.database or "").startswith("file:"):
        raise UnsupportedDatabase("database_url must name SQLite's file by its path, not as file:")
    return parsed.set(drivername=driver)


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database, absolute; None for one in memory."""
    return None if url.database in (None, "", ":memory:") else Path(str(url.database)).absolute()


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrates to `revision`; costs nothing where it was done already.

    Guarantees:
      All of it or nothing is done. Two hosts that start together migrate one after the other: the second finds it done.

    Raises:
      OutdatedDatabase: rows would lack what they refer to.

    """
    with _migrating(database) as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _migrating(database: Database) -> Iterator[Connection]:
    """A write transaction in which tables may be changed, on one host at a time."""
    if database.engine.dialect.name == "postgresql":
        with database.write() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_KEY)))
            yield connection
        return
    with database.engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        yield connection
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise OutdatedDatabase(f"the migration would leave {len(broken)} rows without what they refer to")


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by making it anew, while others refer to it; settings change outside of transactions."""
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def current_revision(database: Database) -> str | None:
    """The revision of the database's tables; None where there are none."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> frozenset[str]:
    """All revisions from which this version can migrate, its own included."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions())


def newest_revision() -> str | None:
    """The revision of this version's tables."""
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


def check_is_current(database: Database) -> None:
    """Checks that all migrations were run.

    Raises:
      OutdatedDatabase: they were not.

    """
    found, wanted = current_revision(database), newest_revision()
    if found != wanted:
        raise OutdatedDatabase(f"the database must be at revision {wanted}, got {found}")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


_READING: dict[str, dict[str, Any]] = {
    "sqlite": {"keychorus_read_only": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


def _create_engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        return create_sqlite_engine(url)
    engine = create_engine(
        url,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args=_postgresql_connection(url),
        pool_pre_ping=True,  # a server that was restarted costs one question, not one failed request a connection
        pool_size=12,  # the threads of one worker
        max_overflow=8,
        pool_timeout=30,
    )
    event.listen(engine, "handle_error", _hide_details)
    return engine


def _postgresql_connection(url: URL) -> dict[str, Any]:
    """What the URL says itself goes before; its `options` are added to ours."""
    options = " ".join((*_POSTGRESQL_OPTIONS, str(url.query.get("options", ""))))
    chosen = {name: value for name, value in _POSTGRESQL_CONNECTION.items() if name not in url.query}
    return {**chosen, "options": options}


def _hide_details(context: ExceptionContext) -> None:
    """PostgreSQL quotes the row that it refused in an error's detail; only the first line, which does not, is kept."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(original, psycopg.Error) and original.diag.message_primary and wrapped is not None:
        wrapped.args = (original.diag.message_primary, *wrapped.args[1:])
        original.args = (original.diag.message_primary,)
