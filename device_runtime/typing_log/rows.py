"""The SQL over the log's messages: each function works within its caller's transaction."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from device_runtime.typing_log.message import Counts, Row
from device_runtime.typing_log.switches import read_setting
from device_runtime.typing_log.vault import UNREADABLE

_LONGEST_LEAD_S = 24 * 3600.0
_EARLIEST_PLAUSIBLE_NOW = 1_672_531_200.0  # 2023: a clock before that was never set
_KEPT_AFTER_EVICTION = 0.95  # so that a full log is not weighed again at every message
_ROWS_AT_ONCE = 500


class Lifetime(NamedTuple):
    """The times between which messages are kept, both included, in seconds since 1970."""

    earliest: float
    latest: float


class StoredRow(NamedTuple):
    """A message as it lies in the database."""

    row_id: int
    at: float
    sealed: bytes


def lifetime(now: float, retention_s: float) -> Lifetime:
    """What is kept at the time `now`.

    A message from more than a day ahead was stamped by a clock that has jumped, and would outlive the retention: it
    expires, too, but not by a clock that was never set, or a board that wakes up in 1970 would empty its log.
    """
    latest = now + _LONGEST_LEAD_S if now >= _EARLIEST_PLAUSIBLE_NOW else float("inf")
    return Lifetime(now - retention_s, latest)


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Adds messages."""
    connection.executemany("INSERT INTO messages (at, words, sealed) VALUES (?, ?, ?)", rows)


def has_expired(connection: sqlite3.Connection, kept: Lifetime) -> bool:
    """Whether `delete_expired` would find anything; takes no lock that keeps others from writing."""
    found = connection.execute("SELECT EXISTS (SELECT 1 FROM messages WHERE at < ? OR at > ?)", kept)
    return bool(found.fetchone()[0])


def delete_expired(connection: sqlite3.Connection, kept: Lifetime) -> int:
    """Deletes what was typed outside of `kept`; returns how many messages that were."""
    return connection.execute("DELETE FROM messages WHERE at < ? OR at > ?", kept).rowcount


def evict(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Deletes the oldest messages of a log that has grown beyond `max_bytes`; returns how many.

    Guarantees:
      The sealed messages together have at most `max_bytes` afterwards.
    """
    if _used_bytes(connection) <= max_bytes or _sealed_bytes(connection) <= max_bytes:
        return 0
    return connection.execute(
        "DELETE FROM messages WHERE id IN (SELECT id FROM"
        " (SELECT id, sum(length(sealed)) OVER (ORDER BY at DESC, id DESC) AS total FROM messages) WHERE total > ?)",
        (int(max_bytes * _KEPT_AFTER_EVICTION),),
    ).rowcount


def _used_bytes(connection: sqlite3.Connection) -> int:
    """An upper bound of what all tables hold, without a look at any row."""
    pages, free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_bytes)


def _sealed_bytes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(sum(length(sealed)), 0) FROM messages").fetchone()[0])


def newest(connection: sqlite3.Connection, kept: Lifetime, max_words: int) -> list[StoredRow]:
    """The newest messages that together have at most `max_words` words, oldest first."""
    found = connection.execute(
        "SELECT id, at, sealed FROM"
        " (SELECT *, sum(words) OVER (ORDER BY at DESC, id DESC) AS total FROM messages WHERE at BETWEEN ? AND ?)"
        " WHERE total <= ? ORDER BY at, id",
        (*kept, max_words),
    )
    return [StoredRow(*row) for row in found]


def pages(connection: sqlite3.Connection, kept: Lifetime) -> Iterator[list[StoredRow]]:
    """All messages, oldest first, a few hundred at a time."""
    found = connection.execute("SELECT id, at, sealed FROM messages WHERE at BETWEEN ? AND ? ORDER BY at, id", kept)
    while page := found.fetchmany(_ROWS_AT_ONCE):
        yield [StoredRow(*row) for row in page]


def delete(connection: sqlite3.Connection, row_ids: Iterable[int]) -> None:
    """Deletes messages by their number."""
    connection.executemany("DELETE FROM messages WHERE id = ?", [(row_id,) for row_id in row_ids])


def count(connection: sqlite3.Connection) -> Counts:
    """What is held, in numbers."""
    messages, words, oldest_at, newest_at, in_messages = connection.execute(
        "SELECT count(*), coalesce(sum(words), 0), min(at), max(at), coalesce(sum(length(sealed)), 0) FROM messages"
    ).fetchone()
    in_values = connection.execute("SELECT coalesce(sum(length(sealed)), 0) FROM sealed_values").fetchone()[0]
    unreadable = read_setting(connection, UNREADABLE) or 0
    return Counts(messages, words, oldest_at, newest_at, in_messages + in_values, unreadable)
