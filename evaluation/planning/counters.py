"""What a service and its PostgreSQL have used so far, read from the system and from the database itself."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from aggregation_service.storage.database import Database
from aggregation_service.storage.models import newest_version
from evaluation.planning.costs import NoCosts, Stored

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_OWN_TIMES, _CHILDREN_TIMES = slice(11, 13), slice(13, 15)
"""utime and stime of a process, and of its children that ended, counted from its state on: proc(5)."""

_PEAK = "5"
_TABLES_OF_DEVICES = ("devices", "participation")
_POSTGRESQL_NAMES = ("postgres", "postmaster")


class Counters:
    """Reads PostgreSQL on this machine.

    Args:
      database: open.

    Raises:
      NoCosts: it is SQLite, or runs on another machine, where its CPU time cannot be read.

    """

    def __init__(self, database: Database) -> None:
        if database.engine.dialect.name != "postgresql":
            raise NoCosts("costs are measured on PostgreSQL, which counts what it does, got SQLite")
        self._database = database
        self._postmaster = parent(self._number("SELECT pg_backend_pid()"))

    def commits(self) -> int:
        """Transactions that wrote, ever."""
        return self._number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")

    def log_bytes(self) -> int:
        """Bytes of write-ahead log, ever."""
        return self._number("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")

    def database_cpu_s(self) -> float:
        """CPU seconds of all of PostgreSQL's processes, those that ended included."""
        own = cpu_seconds([self._postmaster, *children(self._postmaster)])
        return own + sum(_times(self._postmaster)[_CHILDREN_TIMES]) / _TICKS_PER_S

    def model_version(self, population: str) -> int:
        """A population's newest, 0 where there is none."""
        with self._database.read() as connection:
            return newest_version(connection, population) or 0

    def stored(self) -> Stored:
        """Bytes of what stays, indices included, for each row; a table's first pages are shared by all.

        Raises:
          NoCosts: no device was enrolled, none assigned, or there is no model.

        """
        of_devices = sum(self._number(f"SELECT pg_total_relation_size('{table}')") for table in _TABLES_OF_DEVICES)
        return Stored(
            device_bytes=of_devices / self._rows("devices"),
            assignment_bytes=self._number("SELECT pg_total_relation_size('assignments')") / self._rows("assignments"),
            round_bytes=self._number("SELECT sum(size_bytes)::bigint FROM files") / self._rows("checkpoints"),
        )

    def _rows(self, table: str) -> int:
        count = self._number(f"SELECT count(*) FROM {table}")  # noqa: S608  # a name of this file
        if count == 0:
            raise NoCosts(f"the table {table} must have rows to be measured, it has none")
        return count

    def _number(self, statement: str) -> int:
        with self._database.read() as connection:
            return int(connection.exec_driver_sql(statement).scalar_one())


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds that processes have used, in units of a hundredth; one that ended counts nothing."""
    return sum(sum(_times(pid)[_OWN_TIMES]) for pid in pids) / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """The processes that a process with one thread has started, and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def forget_peaks(pids: Sequence[int]) -> None:
    """Has the largest memory of processes counted anew from now on: proc(5), clear_refs."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text(_PEAK, encoding="ascii")


def parent(backend: int) -> int:
    """The postmaster of a backend.

    Raises:
      NoCosts: there is no such process here.

    """
    try:
        status = Path(f"/proc/{backend}/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    found = re.search(r"^Name:\s*(\S+)$.*^PPid:\s*(\d+)$", status, re.MULTILINE | re.DOTALL)
    if found is None or found[1] not in _POSTGRESQL_NAMES:
        raise NoCosts("the database must run on this machine, for its CPU time to be read: its process is not here")
    return int(found[2])


def _times(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [0] * 15
    return [0, *map(int, text.rpartition(")")[2].split()[1:15])]
