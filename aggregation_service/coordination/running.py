"""The thread that leads: it polls the database, and what is due is done, whether or not a request comes."""

import threading
import time

from aggregation_service import metrics
from aggregation_service.coordination.coordinator import Coordinator
from aggregation_service.logs import log

POLL_S = 0.2
"""How often the leader looks for what is due."""

CANDIDATE_POLL_S = 1.0
"""How often others try to take the lead: a leader that dies is replaced well within 10 s."""


class CoordinatorThread:
    """Calls `tick` until it is stopped. Survives whatever fails: a database that is gone now comes back."""

    def __init__(self, coordinator: Coordinator, poll_s: float = POLL_S, candidate_poll_s: float = CANDIDATE_POLL_S):
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
        failing = False
        while not self._stopping.is_set():
            wait_s = self._candidate_poll_s
            try:
                leads = self._coordinator.tick()
                if leads:
                    wait_s = self._poll_s
                self._looked_at = time.monotonic()
                metrics.coordinator_looked(is_leader=leads)
                failing = False
            except Exception as error:  # nobody else would start it again
                if not failing:  # an outage is told once, not every second
                    log.error("coordinator_failed", exc_info=error)
                failing = True
            self._stopping.wait(wait_s)
