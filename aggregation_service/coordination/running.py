"""The thread that leads: it polls the database, and what is due is done, whether or not a request comes."""

import threading
import time
from typing import Protocol

from aggregation_service import metrics
from aggregation_service.logs import log

POLL_S = 0.2
"""How often the leader looks for what is due."""

CANDIDATE_POLL_S = 1.0
"""How often others try to take the lead: a leader that dies is replaced well within 10 s."""


LONGEST_WAIT_S = 3.0
"""Failures in a row double the wait to this: a database that is back is found again well within 10 s, too."""


class Ticking(Protocol):
    """What the thread needs of a coordinator."""

    def tick(self) -> bool:
        """Does what is due, and returns whether this process leads."""
        ...


class CoordinatorThread:
    """Calls `tick` until it is stopped. Survives whatever fails: a database that is gone now comes back."""

    def __init__(self, coordinator: Ticking, poll_s: float = POLL_S, candidate_poll_s: float = CANDIDATE_POLL_S):
        self._coordinator = coordinator
        self._poll_s = poll_s
        self._candidate_poll_s = candidate_poll_s
        self._stopping = threading.Event()
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)

    @property
    def silent_s(self) -> float:
        """Seconds since a tick last succeeded here, whoever leads; since this was made if none has."""
        return time.monotonic() - self._looked_at

    def start(self) -> None:
        """Begins; at most once."""
        self._looked_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is being done now; does nothing if it was never started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                leads = self._coordinator.tick()
                wait_s = self._poll_s if leads else self._candidate_poll_s
                self._looked_at = time.monotonic()
                metrics.coordinator_looked(is_leader=leads)
                failures = 0
            except Exception as error:  # nobody else would start it again
                if not failures:  # an outage is told once, not every second
                    log.error("coordinator_failed", exc_info=error)
                wait_s = min(self._candidate_poll_s * 2**failures, LONGEST_WAIT_S)
                failures = min(failures + 1, 16)  # no more is needed, and larger powers are no floats
            self._stopping.wait(wait_s)
