"""The diary: what the device did, in numbers, so that a person can see it. Never text.

It stands apart from the typing log and outlives its wiping: what was sent was sent, and a person may want to know.
"""

import logging
import math
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from device_runtime.clock import Clock
from device_runtime.rounds.outcome import Event
from device_runtime.storage.set_aside import is_full
from device_runtime.storage.sqlite_file import SqliteFile

DIARY_FILE = "diary.sqlite"
"""Its name in a device's data directory."""
KEPT_S = 400 * 24 * 3600.0
"""Entries go at this age, in seconds; totals stay for ever."""
MAX_ENTRIES = 20_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, at REAL NOT NULL, event TEXT NOT NULL,
                                    model_version INTEGER, numbers TEXT NOT NULL,
                                    bytes_up INTEGER NOT NULL, bytes_down INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT;
"""
_NO_NUMBERS: Mapping[str, float] = MappingProxyType({})
_logger = logging.getLogger(__name__)


class DiaryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the device did.

    Attributes:
      at: when, in seconds since 1970.
      event: what.
      model_version: of the model that was trained or suggested with; None where no model plays a part.
      numbers: such as `steps` or `last_loss` of a training run; finite.
      bytes_up: sent.
      bytes_down: received.

    """

    at: float
    event: Event
    model_version: int | None = None
    numbers: dict[str, float] = {}
    bytes_up: int = 0
    bytes_down: int = 0


class DiaryTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Everything since the diary began.

    Attributes:
      trained: training runs that gave an update.
      reported: updates that the service acknowledged.
      bytes_up: sent.
      bytes_down: received.
      last_trained_at: in seconds since 1970; None before the first.
      last_reported_at: in seconds since 1970; None before the first.

    """

    trained: int = 0
    reported: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    last_trained_at: float | None = None
    last_reported_at: float | None = None


class Diary:
    """A device's diary. Usable from several threads and, through one object each, from several processes."""

    def __init__(self, path: Path, clock: Clock = time.time):
        """Describes the diary at `path`; the file is opened, or begun, when it is first used."""
        self._clock = clock
        self._file = SqliteFile(path, _SCHEMA, clock=clock, after_damage="a fresh diary begins, with totals of zero")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self._file.close()

    def record(
        self,
        event: Event,
        *,
        model_version: int | None = None,
        numbers: Mapping[str, float] = _NO_NUMBERS,
        bytes_up: int = 0,
        bytes_down: int = 0,
    ) -> None:
        """Adds an entry and adds it to the totals. A diary that cannot be written is warned of, never an error.

        Args:
          event: what happened.
          model_version: of the model in question.
          numbers: of the event; those that are not finite are left out.
          bytes_up: sent since the last entry.
          bytes_down: received since the last entry.

        """
        entry = DiaryEntry(
            at=self._clock(),
            event=event,
            model_version=model_version,
            numbers={name: float(value) for name, value in numbers.items() if math.isfinite(value)},
            bytes_up=bytes_up,
            bytes_down=bytes_down,
        )
        try:
            self._file.write(lambda connection: _add(connection, entry))
        except (sqlite3.Error, OSError) as error:
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            _logger.warning("the diary could not be written: %s", "the disk is full" if is_full(error) else name)

    def entries(self, limit: int = 50) -> list[DiaryEntry]:
        """The newest entries, newest first; those of a kind that this version does not know are left out.

        Raises:
          sqlite3.OperationalError: the diary cannot be read.

        """
        found = self._file.read(
            lambda connection: connection.execute(
                "SELECT at, event, model_version, numbers, bytes_up, bytes_down FROM entries ORDER BY id DESC LIMIT ?",
                (max(limit, 0),),
            ).fetchall()
        )
        return [entry for row in found if (entry := _entry(row)) is not None]

    def totals(self) -> DiaryTotals:
        """Everything since the diary began.

        Raises:
          sqlite3.OperationalError: the diary cannot be read.

        """
        found = dict(self._file.read(lambda each: each.execute("SELECT name, value FROM totals").fetchall()))
        return msgspec.convert(found, DiaryTotals, strict=False)


def _add(connection: sqlite3.Connection, entry: DiaryEntry) -> None:
    numbers = msgspec.json.encode(entry.numbers).decode()
    values = (entry.at, entry.event.value, entry.model_version, numbers, entry.bytes_up, entry.bytes_down)
    number = connection.execute(
        "INSERT INTO entries (at, event, model_version, numbers, bytes_up, bytes_down) VALUES (?, ?, ?, ?, ?, ?)",
        values,
    ).lastrowid
    # By number, too: a clock that is set back must not keep the diary growing.
    connection.execute("DELETE FROM entries WHERE at < ? OR id <= ?", (entry.at - KEPT_S, (number or 0) - MAX_ENTRIES))
    _increase(connection, "bytes_up", entry.bytes_up)
    _increase(connection, "bytes_down", entry.bytes_down)
    if entry.event in (Event.TRAINED, Event.REPORTED):
        _increase(connection, entry.event.value, 1)
        connection.execute("INSERT OR REPLACE INTO totals VALUES (?, ?)", (f"last_{entry.event.value}_at", entry.at))


def _increase(connection: sqlite3.Connection, name: str, by: int) -> None:
    connection.execute(
        "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, by)
    )


def _entry(row: tuple[object, ...]) -> DiaryEntry | None:
    names = ("at", "event", "model_version", "numbers", "bytes_up", "bytes_down")
    values = dict(zip(names, row, strict=True))
    try:
        values["numbers"] = msgspec.json.decode(str(values["numbers"]))
        return msgspec.convert(values, DiaryEntry)
    except msgspec.DecodeError:
        return None
