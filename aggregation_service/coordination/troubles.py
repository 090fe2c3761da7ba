"""Populations whose rounds cannot be led just now, and how long to let each of them be."""

import threading
import time

from aggregation_service.logs import log

FIRST_WAIT_S = 0.4
LONGEST_WAIT_S = 3.0
"""What has been mended is found by then; what has not is told no more often."""


class Troubles:
    """Failures to lead by population. Thread-safe.

    Guarantees:
      Each failure in a row doubles the time until the next attempt, to `LONGEST_WAIT_S`; a success ends the waiting.
      One population's failures delay no other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[float, float]] = {}  # until when, by the monotonic clock, and for how long

    def is_waiting(self, population: str) -> bool:
        """Whether the next attempt is not due yet."""
        with self._lock:
            until, _ = self._waits.get(population, (0.0, 0.0))
        return time.monotonic() < until

    def note_failure(self, population: str, error: Exception) -> None:
        """Logs a failed attempt and puts off the next."""
        with self._lock:
            _, before_s = self._waits.get(population, (0.0, FIRST_WAIT_S / 2))
            wait_s = min(2 * before_s, LONGEST_WAIT_S)
            self._waits[population] = (time.monotonic() + wait_s, wait_s)
        log.error("population_not_advanced", exc_info=error, extra={"values": {"population": population}})

    def note_success(self, population: str) -> None:
        """Ends the waiting."""
        if self._waits:  # hardly ever, and asked at every poll
            with self._lock:
                self._waits.pop(population, None)
