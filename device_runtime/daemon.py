"""The daemon: steps the agent for as long as the process lives, and writes down what it did."""

import logging
import sqlite3
from collections.abc import Callable
from typing import Protocol

from device_runtime.conditions import ConditionsSource
from device_runtime.diary import Diary
from device_runtime.network.transfer import TransferStopped
from device_runtime.rounds.outcome import Event, Outcome, describe
from device_runtime.stop_signal import StopSignal

LONGEST_SLEEP_S = 60.0
"""The clock may jump while the daemon sleeps, so it looks again."""
SHORTEST_SLEEP_S = 0.05
REFRESH_EVERY_S = 24 * 3600.0

_DULL = frozenset({Event.WAITING, Event.NOT_ELIGIBLE, Event.NO_CONSENT, Event.AWAITING_GROUP})
_OWN_TROUBLE = (OSError, sqlite3.Error)

_logger = logging.getLogger(__name__)


class Steps(Protocol):
    """What the daemon needs of an agent."""

    def step(self) -> Outcome:
        """Makes at most one transition."""
        ...


class Daemon:
    """One agent, driven until a signal comes."""

    def __init__(
        self,
        agent: Steps,
        stop: StopSignal,
        clock: Callable[[], float],
        conditions: ConditionsSource,
        *,
        diary: Diary,
        refresh: Callable[[], Outcome] | None = None,
    ):
        """Takes what to drive.

        Args:
          agent: whose `step` is called.
          stop: ends the loop; the agent polls it too.
          clock: seconds since 1970.
          conditions: a release is looked for only while they hold.
          diary: where outcomes are written down.
          refresh: looks for a new release: once a day, and after a report, but never within a round. May raise
            `TransferStopped`.

        """
        self._agent = agent
        self._stop = stop
        self._clock = clock
        self._conditions = conditions
        self._diary = diary
        self._refresh = refresh
        self._refreshed_at = -float("inf")
        self._told: Event | None = None

    def run(self, steps: int | None = None) -> None:
        """Steps the agent until a signal comes, or `steps` times.

        A full or failing disk does not end the daemon: it tells, waits and tries again.
        """
        taken = 0
        while not self._stop.is_set() and (steps is None or taken < steps):
            outcome = self._step()
            taken += 1
            self._tell(outcome)
            self._look_for_release(outcome)
            if steps is None or taken < steps:
                self._stop.wait(min(max(outcome.next_step_in_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S))

    def _step(self) -> Outcome:
        try:
            return self._agent.step()
        except _OWN_TROUBLE as error:
            reason = getattr(error, "strerror", None) or type(error).__name__  # neither ever holds what was typed
            return Outcome(event=Event.FAILED, next_step_in_s=LONGEST_SLEEP_S, reason=reason)

    def _tell(self, outcome: Outcome) -> None:
        """Logs the outcome, once where the same dull one repeats every minute, and writes it down if it is of note."""
        dull = outcome.event in _DULL
        if not dull or outcome.event is not self._told:
            _logger.info("%s", describe(outcome))
        self._told = outcome.event
        if dull:
            return
        self._diary.record(
            outcome.event,
            model_version=outcome.model_version,
            numbers=outcome.numbers,
            bytes_up=outcome.bytes_up,
            bytes_down=outcome.bytes_down,
        )

    def _look_for_release(self, outcome: Outcome) -> None:
        now = self._clock()
        due = outcome.event is Event.REPORTED or not 0 <= now - self._refreshed_at < REFRESH_EVERY_S
        # a round has a deadline, a release has not
        in_round = outcome.next_step_in_s == 0 or outcome.event is Event.AWAITING_GROUP
        if self._refresh is None or not due or in_round or self._stop.is_set():
            return
        if not self._conditions.read().eligible:
            return
        self._refreshed_at = now
        try:
            self._tell(self._refresh())
        except TransferStopped:
            self._refreshed_at = -float("inf")  # it was not the service's fault: looked for when conditions hold again
        except _OWN_TROUBLE as error:
            _logger.warning("a release could not be kept: %s", type(error).__name__)
