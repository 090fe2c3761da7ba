"""Makes a slow source quick: a thread of its own reads, whoever polls gets the newest reading."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from device_runtime.conditions.interface import Conditions, ConditionsSource, NeverEligible

INTERVAL_S = 0.25
"""Pause between two readings while somebody polls."""
STALE_AFTER_S = 3.0
LINGER_S = 2.0
"""The thread goes on for so long after the last poll, then sleeps: nobody's battery pays for a device that waits."""


class WatchedConditions:
    """The newest reading of another source.

    Guarantees:
      `read` returns at once while it is polled more often than `LINGER_S`, otherwise after one fresh reading, and
      always within `stale_after_s`. A reading older than that counts as "cannot be read": a source that hangs stops
      training as a condition that ends does.
    """

    def __init__(
        self,
        source: ConditionsSource,
        *,
        interval_s: float = INTERVAL_S,
        stale_after_s: float = STALE_AFTER_S,
        is_ending: Callable[[], bool] = lambda: False,
    ):
        """Begins to watch with the first poll.

        Args:
          source: may be slow, or hang.
          interval_s: pause between two readings.
          stale_after_s: a reading that began longer ago counts for nothing.
          is_ending: True ends even the wait for a fresh reading, within a tenth of a second.

        """
        self._source = source
        self._interval_s = interval_s
        self._stale_after_s = stale_after_s
        self._is_ending = is_ending
        self._changed = threading.Condition()
        self._newest = NeverEligible("nothing was read yet").read()
        self._begun_at = -float("inf")  # when the newest reading began, by the monotonic clock
        self._polled_at = -float("inf")
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="conditions", daemon=True)
        self._thread.start()

    def read(self) -> Conditions:
        """The newest reading, or one in which nothing holds if that is too old."""
        with self._changed:
            slept = self._polled_at < time.monotonic() - LINGER_S
            self._polled_at = now = time.monotonic()
            self._changed.notify_all()
            if slept:  # what was read before the nap says nothing about now
                self._wait_for_fresh(now)
            if time.monotonic() - self._begun_at <= self._stale_after_s:
                return self._newest
        return NeverEligible(f"no answer for more than {self._stale_after_s:g} s").read()

    def _wait_for_fresh(self, now: float) -> None:
        """Waits for a reading that begins after `now`, in slices: a signal's handler cannot wake a waiting thread."""
        while self._begun_at < now and time.monotonic() < now + self._stale_after_s:
            if self._closed or self._is_ending():
                return
            self._changed.wait(timeout=0.1)

    def close(self) -> None:
        """Ends the thread. One that hangs in its source is left behind, and ends with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=2 * self._interval_s)

    def __enter__(self) -> "WatchedConditions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        while self._wait_for_poll():
            begun_at = time.monotonic()
            newest = self._source.read()
            with self._changed:
                self._newest, self._begun_at = newest, begun_at
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, timeout=self._interval_s)

    def _wait_for_poll(self) -> bool:
        """Sleeps until somebody polls; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or time.monotonic() - self._polled_at <= LINGER_S)
            return not self._closed
