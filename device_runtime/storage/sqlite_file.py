"""A SQLite file that a device can leave alone for a year: private, shared by processes, begun anew when damaged.

Every use goes through `read` or `write`. They open the file when it is first needed, notice when another process has
replaced it, and when it turns out to be damaged set it aside and make the same call on a fresh one.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from device_runtime.storage.files import directory_lock, private_directory
from device_runtime.storage.set_aside import is_damage, remove_database, set_aside

BUSY_TIMEOUT_S = 10.0

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)


class _Identity(NamedTuple):
    """Which file a path leads to. While it is open no other file can get the same."""

    device: int
    inode: int


class SqliteFile:
    """One database file. Usable from several threads, and from several processes through one object each.

    The order of locks is fixed, so that nobody waits in a circle: this object's, the directory's, the database's.
    """

    def __init__(self, path: Path, schema: str, *, clock: Callable[[], float], after_damage: str):
        """Describes a file; nothing is opened yet.

        Args:
          path: of the database.
          schema: SQL that makes the tables where they are missing.
          clock: seconds since 1970, for the names of files set aside.
          after_damage: what the warning tells a person who loses the file, as the end of a sentence.

        """
        self.path = path
        self._schema = schema
        self._clock = clock
        self._after_damage = after_damage
        self._lock = threading.RLock()
        self._holders = 0
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity | None = None

    def read(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Gives `work` a connection and returns its result.

        `work` may be called twice, the second time on a fresh, empty file.

        Raises:
          sqlite3.OperationalError: the file is locked for too long, or cannot be opened, read or written.
          OSError: the directory cannot be made, or a damaged file not be set aside.

        """
        with self._lock:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            self._begin_anew()
            return work(self._opened())

    def write(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Does all of `work` in one transaction or nothing of it; otherwise as `read`."""

        def transaction(connection: sqlite3.Connection) -> _Result:
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled it back already
                    connection.execute("ROLLBACK")
                raise
            return result

        return self.read(transaction)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keeps all other processes from replacing the file, or whatever else they do under this lock. Re-entrant."""
        with self._lock, contextlib.ExitStack() as stack:
            if self._holders == 0:
                stack.enter_context(directory_lock(self.path.parent))
            self._holders += 1
            try:
                yield
            finally:
                self._holders -= 1

    def discard(self) -> None:
        """Deletes the file; the next call begins a fresh one.

        Raises:
          OSError: the directory cannot be written.

        """
        with self.exclusively():
            self.close()
            remove_database(self.path)

    def close(self) -> None:
        """Closes the connection; another call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity == _identity(self.path):
            return self._connection
        self.close()
        private_directory(self.path.parent)
        self._make_private()
        self._identity = _identity(self.path)
        connection = sqlite3.connect(self.path, check_same_thread=False, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _make_private(self) -> None:
        """Makes a missing file before SQLite does, so that it is never readable by others.

        One that exists is not opened: closing it again would drop the locks of this process's other connections.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            self.path.chmod(0o600)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten, not only unlinked
        connection.execute("PRAGMA temp_store = MEMORY")  # no rows in temporary files
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError("a database must be sound")
        connection.executescript(f"BEGIN IMMEDIATE; {self._schema}; COMMIT;")

    def _begin_anew(self) -> None:
        """Sets the damaged file aside, unless another process has done so meanwhile."""
        with self.exclusively():
            self.close()
            if self._identity != _identity(self.path):
                return
            aside = set_aside(self.path, self._clock())
        _logger.warning("%s is damaged and was set aside as %s; %s", self.path, aside.name, self._after_damage)


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _Identity(status.st_dev, status.st_ino)
