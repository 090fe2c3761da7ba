"""An agent's books: its state on disk, the update that waits, the session in memory, and how rounds end in them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from device_runtime.clock import Clock
from device_runtime.rounds.agent_state import Advertised, AgentState, DamagedState, StateFile, Timer, Trained, Waiting
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.round_files import RoundFiles
from device_runtime.rounds.secure_report import SessionMemory
from device_runtime.rounds.spool import Spool
from protocol.messages import Receipt, Selected

POLL_S = 60.0
"""How soon conditions, consent or an empty log are looked at again."""
SHORTEST_PAUSE_S = 1.0
"""A service that says 0 is not asked in a loop."""
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0
FIRST_SESSION_RETRY_S = 2.0
LONGEST_SESSION_RETRY_S = 16.0
"""Within a session others wait for this device, for a minute or so."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bookkeeping:
    """Writes down what an agent did. Every method may raise `OSError`: the data directory cannot be written or read.

    Attributes:
      state_file: the agent's state.
      spool: the update that waits for its upload.
      memory: the session of secure aggregation, if there is one.
      files: of the round.
      clock: seconds since 1970.
      jitter: uniform in [0, 1), spreads retries of many devices.

    """

    state_file: StateFile
    spool: Spool
    memory: SessionMemory
    files: RoundFiles
    clock: Clock
    jitter: Callable[[], float]

    def load(self, now: float) -> AgentState:
        """The state with its timers settled; a damaged one is set aside, with a warning in the program's log."""
        stored = self._load_or_begin_anew(now)
        state = stored.settled(now)
        if state != stored:
            self.state_file.save(state)
        return state

    def save(self, state: AgentState, **changes: object) -> AgentState:
        """Writes `state` down with these fields changed, and returns it."""
        changed = msgspec.structs.replace(state, **changes)
        self.state_file.save(changed)
        return changed

    def amend(self, **changes: object) -> AgentState:
        """Changes fields of what was saved last: a step that failed half-way may have saved more than it was given."""
        return self.save(self.state_file.load(), **changes)

    def begin_separation(self, state: AgentState, phase: Trained | Advertised) -> AgentState:
        """Before the upload: a report whose receipt is lost may well be counted."""
        return self.save(state, separation=Timer(self.clock(), phase.minimum_separation_s))

    def reported(self, state: AgentState, selected: Selected, receipt: Receipt) -> Outcome:
        """Ends an assignment whose report the service has."""
        pause_s = max(receipt.reconnect_after_s, SHORTEST_PAUSE_S)
        self.save(
            state,
            phase=Waiting(),
            pause=Timer(self.clock(), pause_s),
            failures=0,
            rounds_reported=state.rounds_reported + 1,
        )
        self._forget(selected)
        return Outcome(event=Event.REPORTED, next_step_in_s=pause_s, model_version=state.newest_model_version)

    def drop(self, state: AgentState, event: Event, reason: str = "", *, failed: bool = False) -> Outcome:
        """Gives up the assignment, if there is one; after a failure waits as `retry_later` does."""
        self._forget(None if isinstance(state.phase, Waiting) else state.phase.selected)
        dropped = self.amend(phase=Waiting())
        pause_s = dropped.pause.remaining_s(self.clock())
        if failed:
            pause_s = self.retry_later(reason).next_step_in_s
        return Outcome(event=event, next_step_in_s=pause_s or POLL_S, reason=reason)

    def retry_later(self, reason: str) -> Outcome:
        """Keeps the phase and waits, twice as long after each failure, spread over half of that."""
        state = self.state_file.load()
        first_s, most_s = FIRST_RETRY_S, LONGEST_RETRY_S
        if isinstance(state.phase, Advertised):
            first_s, most_s = FIRST_SESSION_RETRY_S, LONGEST_SESSION_RETRY_S
        longest_s = min(first_s * 2.0 ** min(state.failures, 16), most_s)
        pause_s = longest_s * (0.5 + 0.5 * self.jitter())
        self.save(state, pause=Timer(self.clock(), pause_s), failures=state.failures + 1)
        return Outcome(event=Event.UNAVAILABLE, next_step_in_s=pause_s, reason=reason)

    def _load_or_begin_anew(self, now: float) -> AgentState:
        try:
            return self.state_file.load()
        except DamagedState as error:
            aside = self.state_file.set_aside(now)
            _logger.warning("%s; it lies at %s now, and the agent begins anew", error, aside)
            return self.state_file.load()

    def _forget(self, selected: Selected | None) -> None:
        """What is of use in no other round."""
        self.spool.clear()
        self.memory.forget()
        if selected is not None:
            self.files.forget_checkpoint(selected)
