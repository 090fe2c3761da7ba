"""The whole database as one file, taken while others write, and put back.

SQLite by its own backup interface; PostgreSQL by its own programs, `pg_dump` and `pg_restore`, which must be installed.
Either holds one moment: what was committed when the dump began.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, inspect

from aggregation_service.storage.database import Database, parse_url, sqlite_path

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and of how many; of 0 where nobody knows."""

_PAGES_A_STEP = 1024


class DumpError(Exception):
    """A database that could not be dumped or loaded. The message says why, in one sentence."""


def dump_name(database_url: str) -> str:
    """The name of a database's dump: `database.sqlite` or `database.pgdump`.

    Raises:
      UnsupportedDatabase: not a URL of SQLite or PostgreSQL.

    """
    return "database.sqlite" if parse_url(database_url).drivername == "sqlite" else "database.pgdump"


def dump(database_url: str, path: Path, progress: Progress) -> None:
    """Writes all tables to a new file that only its owner may read.

    Guarantees:
      One consistent moment, whoever writes meanwhile, and nobody waits for it.

    Raises:
      DumpError: the database is in memory or cannot be read, or `pg_dump` is missing or failed.
      FileExistsError: `path` exists.
      UnsupportedDatabase: not a URL of SQLite or PostgreSQL.

    """
    url = parse_url(database_url)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    if url.drivername == "sqlite":
        _dump_sqlite(_file_of(url), path, progress)
    else:
        progress(0, 0)
        _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")


def load(path: Path, database_url: str, progress: Progress) -> None:
    """Puts a dump into a database of its kind that has no tables.

    Raises:
      DumpError: there are tables already, or `pg_restore` is missing or failed.
      UnsupportedDatabase: not a URL of SQLite or PostgreSQL.

    """
    url = parse_url(database_url)
    if url.drivername == "sqlite":
        _load_sqlite(path, _file_of(url), progress)
        return
    _check_is_empty(database_url)
    progress(0, 0)
    _run("pg_restore", url, "--single-transaction", "--no-owner", "--no-privileges", str(path))


def _dump_sqlite(source: Path, target: Path, progress: Progress) -> None:
    page_bytes = 0

    def tell(_status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * page_bytes, total * page_bytes)

    try:
        with closing(_connect(source, "ro")) as reader, closing(_connect(target, "rw")) as writer:
            (page_bytes,) = reader.execute("PRAGMA page_size").fetchone()
            # A backup in steps begins anew whenever somebody writes, unless its reader holds on to one moment.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            reader.backup(writer, pages=_PAGES_A_STEP, progress=tell, sleep=0)
            reader.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise DumpError(f"{source} could not be copied: {error}") from None


def _load_sqlite(source: Path, target: Path, progress: Progress) -> None:
    size = source.stat().st_size
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise DumpError(f"{target} exists already, and a database is never overwritten") from None
    with os.fdopen(descriptor, "wb") as writer, source.open("rb") as reader:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
    progress(size, size)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30)


def _file_of(url: URL) -> Path:
    path = sqlite_path(url)
    if path is None:
        raise DumpError("a database in memory cannot be dumped or loaded")
    return path


def _check_is_empty(database_url: str) -> None:
    database = Database(database_url)
    try:
        with database.read() as connection:
            tables = inspect(connection).get_table_names()
    finally:
        database.close()
    if tables:
        raise DumpError(f"the database must have no tables, got {len(tables)}: a database is never overwritten")


def _run(program: str, url: URL, *arguments: str) -> None:
    """Runs a program of PostgreSQL's; the password goes by its environment, which other users cannot read."""
    found = shutil.which(program)
    if found is None:
        raise DumpError(
            f"{program} is not installed: it comes with PostgreSQL's client programs, of the server's version"
        )
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    parameters = {**url.translate_connect_args(username="user", database="dbname"), **url.query}
    parameters.pop("password", None)
    conninfo = make_conninfo("", **parameters)
    command = [found, "--no-password", f"--dbname={conninfo}", *arguments]
    ended = subprocess.run(  # noqa: S603  # no shell; the arguments are the operator's own configuration
        command, env={**os.environ, **password}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise DumpError(f"{program} failed: {said[-1]}")
