"""SQLite's connections: their settings, and how writers take turns."""

import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

_TURN_WITHIN_S = 30.0
_POLL_S = 0.001
_PAGE_BYTES = 16384
_CHECKPOINT_PAGES = 4000
_BUSY_TIMEOUT = f"busy_timeout = {_TURN_WITHIN_S * 1000:.0f}"


def create_sqlite_engine(url: URL) -> Engine:
    """An engine whose transactions are explicit: of readers deferred, of writers immediate."""
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
    for setting in (
        _BUSY_TIMEOUT,
        # Sealed sums are written and freed page by page: larger ones, a quarter of the work. Files that exist already
        # keep theirs; so this goes before the journal, which makes the file.
        f"page_size = {_PAGE_BYTES}",
        "journal_mode = WAL",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",  # every few flushes, not each; the log stays under 100 MB
        "synchronous = FULL",  # a ledger entry must not be lost to a power cut
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("keychorus_read_only", False):
        connection.exec_driver_sql("BEGIN")
        return
    driver: Any = connection.connection.driver_connection
    if not _begin_in_turn(driver):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises what SQLAlchemy makes of it


def _begin_in_turn(connection: sqlite3.Connection) -> bool:
    """Asks for the write lock every millisecond, since SQLite's own wait sleeps up to 100 ms beside a free lock."""
    deadline = time.monotonic() + _TURN_WITHIN_S
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while not _try_to_begin(connection):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
    finally:
        connection.execute(f"PRAGMA {_BUSY_TIMEOUT}")
    return True


def _try_to_begin(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:  # the low byte: what kind of busy does not matter
            return False
        raise
    return True
