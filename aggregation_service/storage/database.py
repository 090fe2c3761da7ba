"""The database: an engine with explicit read and write transactions, and its migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event

MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE_BUSY_TIMEOUT_S = 30


class OutdatedDatabase(Exception):
    """A database whose tables are not those of this version."""


class Database:
    """Owns the connections to one database.

    Guarantees:
      On SQLite a write transaction takes the write lock when it begins, so that what it read cannot change before it
      commits; foreign keys hold; a commit is on the disk when it returns. Errors never show statement parameters.
    """

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url, hide_parameters=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; nothing may be written in it."""
        with self.engine.connect().execution_options(keychorus_read_only=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back if an exception leaves it."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrates to `revision`; costs nothing where it was done already."""
    with database.write() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def check_is_current(database: Database) -> None:
    """Checks that all migrations were run.

    Raises:
      OutdatedDatabase: they were not.

    """
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if found != wanted:
        raise OutdatedDatabase(f"the database must be at revision {wanted}, got {found}")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    for setting in (
        f"busy_timeout = {_SQLITE_BUSY_TIMEOUT_S * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",  # a ledger entry must not be lost to a power cut
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("keychorus_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
