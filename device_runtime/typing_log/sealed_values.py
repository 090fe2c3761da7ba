"""A small encrypted store beside the messages: what a device learnt from them, wiped with them."""

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

from device_runtime.storage.files import Sealer, UnreadableData

SCHEMA = "CREATE TABLE IF NOT EXISTS sealed_values (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;"
MAX_VALUE_BYTES = 64 * 1024 * 1024
"""More than the weights of a full-size model."""

_Result = TypeVar("_Result")


class SealedDatabase(Protocol):
    """What the values need of their log: transactions that are handed the present key."""

    def read(self, work: Callable[[sqlite3.Connection, Sealer], _Result]) -> _Result:
        """Gives `work` the database and the key."""

    def write(self, work: Callable[[sqlite3.Connection, Sealer], _Result]) -> _Result:
        """Does all of `work` in one transaction or nothing of it."""


class SealedValues:
    """Bytes by name, sealed with the log's key; `TypingLog.wipe` deletes them all, and so does a lost key."""

    def __init__(self, database: SealedDatabase):
        self._database = database

    def get(self, name: str) -> bytes | None:
        """The value; None if there is none or it cannot be opened.

        Raises:
          sqlite3.Error: the log cannot be read.

        """

        def work(connection: sqlite3.Connection, sealer: Sealer) -> bytes | None:
            row = connection.execute("SELECT sealed FROM sealed_values WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            try:
                return sealer.open(row[0], _context(name))
            except UnreadableData:
                return None

        return self._database.read(work)

    def put(self, name: str, value: bytes) -> None:
        """Keeps `value`, whole or not at all, in place of what had that name.

        Raises:
          ValueError: it is larger than `MAX_VALUE_BYTES`.
          sqlite3.Error: the log cannot be written.

        """
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"a sealed value must have at most {MAX_VALUE_BYTES} bytes, got {len(value)}")

        def work(connection: sqlite3.Connection, sealer: Sealer) -> None:
            sealed = sealer.seal(value, _context(name))
            connection.execute("INSERT OR REPLACE INTO sealed_values VALUES (?, ?)", (name, sealed))

        self._database.write(work)

    def delete(self, name: str) -> None:
        """Deletes the value, if there is one.

        Raises:
          sqlite3.Error: the log cannot be written.

        """
        self._database.write(
            lambda connection, _: connection.execute("DELETE FROM sealed_values WHERE name = ?", (name,))
        )


def _context(name: str) -> bytes:
    """Binds a value to its name, so that no two can be swapped."""
    return b"keychorus/sealed-value/v1\n" + name.encode()
