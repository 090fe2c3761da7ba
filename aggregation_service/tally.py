"""Refused requests, counted in memory and written together: whoever is refused must not cost a commit."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.logs import log
from aggregation_service.storage.books import count_refusals
from aggregation_service.storage.database import Database

WRITTEN_EVERY_S = 2.0
"""A process commits its counts at most this often, however many strangers knock."""


class Tally:
    """One process's count of refusals by population and kind. Thread-safe.

    Guarantees:
      There are as many counters as pairs of a known population and a `RefusalKind`, whatever is sent. A count is in the
      database with the first request that ends more than `every_s` after it, or when the process ends in order; a
      process that is killed forgets its last ones. Counts that a failing database did not take are offered again.
    """

    def __init__(
        self, database: Database, every_s: float = WRITTEN_EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Args: `every_s` between two commits, 0 for each count at once; `now` in seconds, of a steady clock."""
        self._database = database
        self._every_s = every_s
        self._now = now
        self._lock = threading.Lock()
        self._counts = Counter[tuple[str, str]]()
        self._write_at = now()

    def count(self, population: str, kind: str) -> None:
        """Counts a refused request; `population` is empty where none is known."""
        with self._lock:
            self._counts[population, kind] += 1

    def write_if_due(self) -> None:
        """Writes what was counted if that was not done lately; never raises, for it is nobody's request."""
        with self._lock:
            if not self._counts or self._now() < self._write_at:
                return
            counts = self._take()
        self._write(counts)

    def write(self) -> None:
        """Writes what was counted."""
        with self._lock:
            counts = self._take()
        if counts:
            self._write(counts)

    def _take(self) -> Counter[tuple[str, str]]:
        counts, self._counts = self._counts, Counter()
        self._write_at = self._now() + self._every_s
        return counts

    def _write(self, counts: Counter[tuple[str, str]]) -> None:
        try:
            with self._database.write() as connection:
                count_refusals(connection, counts)
        except SQLAlchemyError:
            log.exception("refusals_not_counted")
            with self._lock:
                self._counts.update(counts)
