"""When devices shall come back: pace steering with what the database knows of the population."""

import threading
from collections.abc import Callable

from aggregation_service.clock import Clock
from aggregation_service.rounds.pace import after_separation_s, reconnect_after_s, until_round_s
from aggregation_service.storage.books import count_devices
from aggregation_service.storage.database import Database
from aggregation_service.storage.models import Task

NO_TASK_BEAT_S = 3600.0
"""How often devices of a population without a task ask again."""

COUNT_KEPT_S = 60.0
"""How long a count of devices serves; those that this process meets meanwhile are added to it."""


class Steering:
    """Says after how many seconds a device shall check in again. Thread-safe."""

    def __init__(self, database: Database, clock: Clock, jitter: Callable[[], float]) -> None:
        """Args: `jitter` gives numbers in [0, 1), fresh at each call."""
        self._database = database
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}  # devices, and when they were counted

    def note_new_device(self, population: str) -> None:
        """Counts a device that was never seen before."""
        with self._lock:
            if population in self._counts:
                count, counted_at = self._counts[population]
                self._counts[population] = (count + 1, counted_at)

    def without_task_s(self) -> float:
        """For a population that has nothing to train."""
        return after_separation_s(remaining_s=NO_TASK_BEAT_S, beat_s=NO_TASK_BEAT_S, jitter=self._jitter())

    def until_round_s(self, task: Task) -> float:
        """For a population whose next round the leader is about to make."""
        return until_round_s(beat_s=task.parameters.beat_s, jitter=self._jitter())

    def reconnect_after_s(self, task: Task, stays_away_since: float | None = None) -> float:
        """For a device that has its answer; one that was selected stays away for its minimum separation first."""
        now, jitter = self._clock.now(), self._jitter()
        beat_s = task.parameters.beat_s
        paced_s = reconnect_after_s(
            now=now,
            beat_s=beat_s,
            cohort_size=task.parameters.cohort_size(task.plan.privacy.report_goal),
            population_size=self._count_devices(task.population, now),
            jitter=jitter,
        )
        if stays_away_since is None:
            return paced_s
        remaining_s = stays_away_since + task.plan.privacy.minimum_separation_s - now
        return max(paced_s, after_separation_s(remaining_s=remaining_s, beat_s=beat_s, jitter=jitter))

    def _count_devices(self, population: str, now: float) -> int:
        with self._lock:
            count, counted_at = self._counts.get(population, (0, -COUNT_KEPT_S))
        if abs(now - counted_at) < COUNT_KEPT_S:
            return count
        with self._database.read() as connection:
            count = count_devices(connection, population)
        with self._lock:
            self._counts[population] = (count, now)
        return count
