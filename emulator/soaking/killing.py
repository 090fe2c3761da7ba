"""kill -9 at moments that a seed draws: a worker, whoever coordinates, the whole service, the database."""

import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.storage.database import Database
from aggregation_service.storage.leadership import newest_holder
from emulator.rehearsing.host import ServiceHost
from emulator.soaking.databases import SoakDatabase

_LONGEST_DELAY_S = 0.1
"""A kill comes so long after the connection that it was drawn for began: before, while or after the service works."""

Kill = Callable[[], bool]
"""Kills, and brings back what does not come back by itself; returns whether there was anybody to kill."""


class Site:
    """Who can be killed: the service's processes and its database."""

    def __init__(self, host: ServiceHost, database: SoakDatabase, books: Database):
        self._host = host
        self._database = database
        self._books = books

    @property
    def targets(self) -> dict[str, Kill]:
        """By name."""
        found: dict[str, Kill] = {
            "worker": self._kill_worker,
            "coordinator": self._kill_coordinator,
            "service": self._kill_service,
        }
        return found if self._database.server is None else {**found, "database": self._kill_database}

    def _kill_worker(self) -> bool:
        """One that does not coordinate; gunicorn starts another."""
        coordinator = self._coordinator()
        others = [pid for pid in self._workers() if pid != coordinator]
        return coordinator is not None and bool(others) and _kill(others[0])

    def _kill_coordinator(self) -> bool:
        coordinator = self._coordinator()
        return coordinator in self._workers() and coordinator is not None and _kill(coordinator)

    def _kill_service(self) -> bool:
        self._host.crash()
        self._host.start()
        return True

    def _kill_database(self) -> bool:
        self._database.crash()
        return True

    def _workers(self) -> list[int]:
        with suppress(psutil.NoSuchProcess):
            return [] if self._host.pid is None else [each.pid for each in psutil.Process(self._host.pid).children()]
        return []

    def _coordinator(self) -> int | None:
        with suppress(SQLAlchemyError), self._books.read() as connection:
            holder = newest_holder(connection)
            return None if holder is None else int(holder.name.rpartition(":")[2])
        return None


class Killer:
    """Kills one after the other, in a thread; while what was killed comes back, nobody else is killed.

    Attributes:
      done: how often who was killed.

    """

    def __init__(self, targets: dict[str, Kill], *, seed: int, connections_per_kill: int):
        """Args: see `SoakSettings`; each target is killed as often as every other, in an order that `seed` draws."""
        self.done: Counter[str] = Counter()
        self._kills = targets
        self._mean = connections_per_kill
        self._generator = random.Random(f"{seed} kills")  # noqa: S311  # draws kills, guards nothing
        self._order = self._shuffled()
        self._left = self._draw()
        self._rests = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="killer")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()
        self._thread.shutdown(wait=kind is None, cancel_futures=True)

    def on_connection(self) -> None:
        """Told of each connection, by the relay's thread."""
        if self._rests.is_set() or (self._under_way is not None and not self._under_way.done()):
            return
        self._left -= 1
        if self._left <= 0:
            self._left = self._draw()
            delay_s = self._generator.uniform(0, _LONGEST_DELAY_S)
            self._under_way = self._thread.submit(self._kill_after, next(self._order), delay_s)

    def wait(self) -> None:
        """Nobody is killed any more; returns when what was killed last is back, or raises why it is not."""
        self.rest()
        if self._under_way is not None:
            self._under_way.result()

    def rest(self) -> None:
        """From now on nobody is killed."""
        self._rests.set()

    def require_well(self) -> None:
        """Raises what the last kill ended with, if that was an error: the service did not come back."""
        if self._under_way is not None and self._under_way.done():
            self._under_way.result()

    def _kill_after(self, target: str, delay_s: float) -> None:
        if not self._rests.wait(delay_s) and self._kills[target]():
            self.done[target] += 1

    def _draw(self) -> int:
        return self._generator.randint(1, 2 * self._mean)

    def _shuffled(self) -> Iterator[str]:
        for _ in itertools.count():
            names = sorted(self._kills)
            self._generator.shuffle(names)
            yield from names


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
