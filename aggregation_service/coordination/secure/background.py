"""What takes seconds is done beside the leader's ticks, so that these go on: the unmasking of groups."""

import threading
from collections.abc import Callable

from aggregation_service.logs import log_event
from aggregation_service.storage.leadership import Deposed

Work = Callable[[], None]

Start = Callable[[Work], None]
"""Has work done: `at_once`, or `in_thread`."""


def at_once(work: Work) -> None:
    """Does it before this returns: for virtual time, in which nothing happens between two requests."""
    work()


def in_thread(work: Work) -> None:
    """Does it in a thread, which dies with the process."""
    threading.Thread(target=work, name="unmasking", daemon=True).start()


class Background:
    """Work of the leader's, one piece at a time, of all populations. Thread-safe.

    Guarantees:
      A failure is told once, to whoever asks next for that population. Work of a leader that was deposed ends quietly:
      the next tick finds out by itself.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._busy = threading.Lock()
        self._failures: dict[str, Exception] = {}

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self._busy.locked()

    def begin(self, population: str, work: Work) -> bool:
        """Begins, unless something is being done; returns whether it did."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            self._start(lambda: self._run(population, work))
        except RuntimeError:  # no thread could be started
            self._busy.release()
            raise
        return True

    def check(self, population: str) -> None:
        """Raises what ended the last work for this population, if it failed and that was not told yet."""
        failure = self._failures.pop(population, None)
        if failure is not None:
            raise failure

    def wait(self, within_s: float) -> bool:
        """Waits until nothing is being done; False if that takes longer."""
        if not self._busy.acquire(timeout=within_s):
            return False
        self._busy.release()
        return True

    def _run(self, population: str, work: Work) -> None:
        try:
            work()
        except Deposed:
            log_event("coordinator_deposed")
        except Exception as error:  # told by `check`, in the thread that knows how long to let a population be
            self._failures[population] = error
        finally:
            self._busy.release()
