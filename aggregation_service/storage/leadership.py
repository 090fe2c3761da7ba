"""Who coordinates: at most one process at a time, on one host or many.

Two things together make that safe. A lock, which the kernel (SQLite) or the server (PostgreSQL) frees when its holder
dies, says who may begin. An epoch, which grows with every new holder, says who may go on: a process that was paused,
or cut off from the database, for so long that its lock went to another finds a newer epoch at its next write, and stops
before it writes anything.
"""

import fcntl
import hashlib
import os
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, Protocol, cast

import psycopg
from sqlalchemy import Connection, Engine, select, update

from aggregation_service.clock import Clock
from aggregation_service.storage.database import Database, sqlite_path
from aggregation_service.storage.tables import coordinator

_ROW = 1
_MAX_HOLDER = 128
ADVISORY_KEY = int.from_bytes(hashlib.sha256(b"keychorus coordinator").digest()[:8], "big", signed=True)
"""PostgreSQL's name of the lock; each database of a server has its own locks."""


class Deposed(Exception):
    """Another process coordinates now; what this one was about to write must not be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who took the lead last; whether it lives, its lock knows.

    Attributes:
      epoch: its number among all holders, from 1.
      name: "host:pid".
      since: seconds since 1970, by the service's clock, when it began.

    """

    epoch: int
    name: str
    since: float


def newest_holder(connection: Connection) -> Holder | None:
    """Who took the lead last; None if nobody ever did."""
    row = connection.execute(select(coordinator).where(coordinator.c.id == _ROW)).one_or_none()
    return None if row is None else Holder(epoch=row.epoch, name=row.holder, since=row.since)


class Leadership:
    """One process's candidacy for coordinating a database's rounds. Thread-safe.

    Guarantees:
      Of all candidates for one database, in one process or on many hosts, at most one holds the lock; a holder that
      dies frees it at once, a host that vanishes from PostgreSQL within 10 s. Epochs grow strictly, and no two holders
      ever have the same. After `check`, the transaction is that of the newest holder, and stays so until it ends.
    """

    def __init__(self, database: Database, holder: str, clock: Clock) -> None:
        """Args: `holder` tells people who coordinates, such as "host:pid"; 1 to 128 characters.

        Raises:
          ValueError: `holder` is empty or too long.

        """
        if not 1 <= len(holder) <= _MAX_HOLDER:
            raise ValueError(f"holder must have 1 to {_MAX_HOLDER} characters, got {len(holder)}")
        self._database = database
        self._holder = holder
        self._clock = clock
        self._lock = _lock_of(database.engine)
        self._acquiring = threading.Lock()
        self._epoch: int | None = None
        _CANDIDATES.add(self)

    @property
    def epoch(self) -> int | None:
        """The epoch of this holder, from 1; None while it does not coordinate."""
        return self._epoch

    def acquire(self) -> bool:
        """Becomes the coordinator if nobody is, or sees whether it still is; never waits for another holder.

        Raises:
          OperationalError: the database cannot be reached; nothing is held then.

        """
        with self._acquiring:
            if self._epoch is not None:
                if self._lock.is_held():
                    return True
                self.release()
            if not self._lock.take():
                return False
            try:
                self._epoch = self._begin_epoch()
            except BaseException:
                self.release()
                raise
            return True

    def check(self, connection: Connection) -> None:
        """Makes sure that this is still the coordinator; called in every transaction in which a coordinator writes.

        Raises:
          Deposed: it is not; the lock is given up, and the caller's transaction must be rolled back.

        """
        epoch = self._epoch
        if epoch is None:
            raise Deposed(f"{self._holder} does not coordinate")
        mine = (coordinator.c.id == _ROW) & (coordinator.c.epoch == epoch)
        if connection.execute(update(coordinator).where(mine).values(epoch=coordinator.c.epoch)).rowcount != 1:
            if self._epoch == epoch:
                self.release()
            raise Deposed(f"{self._holder} does not coordinate any more: its epoch {epoch} is over")

    def release(self) -> None:
        """Lets another coordinate; idempotent."""
        self._epoch = None
        self._lock.drop()

    def forget(self) -> None:
        """In a forked child, where it runs by itself: the child does not coordinate, and its parent still does."""
        self._acquiring = threading.Lock()  # a thread that the child does not have may hold the old one
        self._epoch = None
        self._lock.forget()

    def _begin_epoch(self) -> int:
        """Only the lock's holder runs this, so the row cannot be inserted twice."""
        values = {"holder": self._holder, "since": self._clock.now()}
        row = coordinator.c.id == _ROW
        with self._database.write() as connection:
            grown = update(coordinator).where(row).values(epoch=coordinator.c.epoch + 1, **values)
            if connection.execute(grown).rowcount == 0:
                connection.execute(coordinator.insert().values(id=_ROW, epoch=1, **values))
            epoch: int = connection.execute(select(coordinator.c.epoch).where(row)).scalar_one()
        return epoch


class _Lock(Protocol):
    """A lock that dies with the process that holds it; `take` is called only where `is_held` is False."""

    def take(self) -> bool: ...

    def is_held(self) -> bool: ...

    def drop(self) -> None: ...

    def forget(self) -> None:
        """In a forked child: lets go of what it inherited, without dropping the parent's lock."""
        ...


class _FileLock:
    """SQLite's: `flock` on a file beside the database. The file stays, for to remove it would let two hold it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        self.drop()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return self.is_held()

    def is_held(self) -> bool:
        """Also False if the file was removed or replaced meanwhile: others lock the new one."""
        descriptor = self._descriptor
        try:
            return descriptor is not None and os.path.samestat(os.fstat(descriptor), self._path.stat())
        except OSError:
            return False

    def drop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    forget = drop  # the parent's lock lasts until the parent's own descriptor is closed


class _AdvisoryLock:
    """PostgreSQL's: an advisory lock of a session that does nothing else, so it lasts as long as the session does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: psycopg.Connection[tuple[object, ...]] | None = None
        self._taken = False

    def take(self) -> bool:
        """Tries over one session, however often: candidates ask several times a second."""
        self._session = self._session or _dedicated_session(self._engine)
        self._taken = self._ask("SELECT pg_try_advisory_lock(%s)", ADVISORY_KEY)
        return self._taken

    def is_held(self) -> bool:
        return self._taken and self._ask("SELECT true")

    def drop(self) -> None:
        session, self._session, self._taken = self._session, None, False
        if session is None:
            return
        with suppress(psycopg.Error):  # of a session that has ended, and its lock with it
            session.execute("SELECT pg_advisory_unlock_all()")  # at once, not when the server notices the close
        session.close()

    def forget(self) -> None:
        """Cuts the inherited session off its socket, so that closing it says nothing to the server."""
        session, self._session, self._taken = self._session, None, False
        if session is not None and not session.closed:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, session.fileno(), inheritable=False)
            os.close(nothing)

    def _ask(self, question: LiteralString, *values: int) -> bool:
        """Whether the server says yes; a session that has ended is dropped, and the next `take` opens another."""
        session = self._session
        try:
            return session is not None and session.execute(question, values or None).fetchone() == (True,)
        except psycopg.Error:
            self.drop()
            return False


class _MemoryLock:
    """A database in memory has no other processes, only other candidates in this one."""

    def __init__(self, engine: Engine) -> None:
        self._lock = _MEMORY_LOCKS.setdefault(engine, threading.Lock())
        self._held = False

    def take(self) -> bool:
        self._held = self._lock.acquire(blocking=False)
        return self._held

    def is_held(self) -> bool:
        return self._held

    def drop(self) -> None:
        held, self._held = self._held, False
        if held:
            self._lock.release()

    def forget(self) -> None:
        self._held = False


_MEMORY_LOCKS: "weakref.WeakKeyDictionary[Engine, threading.Lock]" = weakref.WeakKeyDictionary()
_CANDIDATES: "weakref.WeakSet[Leadership]" = weakref.WeakSet()


def _forget_in_child() -> None:
    for candidate in list(_CANDIDATES):
        candidate.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _dedicated_session(engine: Engine) -> psycopg.Connection[tuple[object, ...]]:
    pooled = engine.raw_connection()
    session = cast("psycopg.Connection[tuple[object, ...]]", pooled.driver_connection)
    pooled.detach()
    session.rollback()
    session.autocommit = True
    return session


def _lock_of(engine: Engine) -> _Lock:
    if engine.dialect.name == "postgresql":
        return _AdvisoryLock(engine)
    path = sqlite_path(engine.url)
    return _MemoryLock(engine) if path is None else _FileLock(path.with_name(f"{path.name}.coordinator"))
