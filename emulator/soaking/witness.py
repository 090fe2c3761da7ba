"""What devices' own records say: which updates they made, which of these were acknowledged, and whether they move."""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from device_runtime.rounds.agent_state import StateFile, Trained, Waiting
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.spool import Spool
from emulator.device import EmulatedDevice, StepResult
from protocol.arrays import FloatArray
from protocol.plan import Plan
from protocol.update import decode_update

LATE_S = 900.0
"""A device must act so soon after its wait, and after its round's deadline: time for transfers and for training."""
UNSERVED_S = 4 * 3600.0
"""A device that tries must get an answer within this: four of its longest pauses."""

_NO_NEWS = (Event.WAITING, Event.NOT_ELIGIBLE, Event.INTERRUPTED, Event.FAILED)


@dataclass(kw_only=True)
class _Record:
    """One device: when it must have acted, what it trained last, since when it gets no answer."""

    due_at: float
    trained: tuple[str, str] | None = None
    unserved_since: float | None = None


@dataclass(kw_only=True)
class Witness:
    """Watches a fleet.

    Attributes:
      population: the devices'.
      plan: of each round.
      updates: what devices trained, float32 [num_weights], by round and assignment; of ended rounds nothing.
      acknowledged: assignments whose devices know that their report counts, by round.
      events: how often each outcome came.
      longest_unserved_s: see `UNSERVED_S`.
      latest: device and seconds of the one that was the latest.

    """

    population: str
    plan: Plan
    updates: dict[str, dict[str, FloatArray]] = field(default_factory=dict)
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    longest_unserved_s: float = 0.0
    latest: tuple[int, float] = (0, 0.0)
    _ended: set[str] = field(default_factory=set)
    _records: dict[int, _Record] = field(default_factory=dict)

    def see(self, device: EmulatedDevice, now: float, result: StepResult) -> None:
        """Takes down a step that ended at `now`, and reads what it left on the device's disk."""
        outcome, folder = result.outcome, device.folder / self.population
        self.events[outcome.event.value] += 1
        record = self._records.setdefault(device.index, _Record(due_at=now))
        self._note_lateness(device.index, now - record.due_at)
        self._note_service(record, outcome.event, now)
        phase = StateFile(folder / "agent.json").load().phase
        deadline_at = now if isinstance(phase, Waiting) else phase.deadline.started_at + phase.deadline.duration_s
        record.due_at = max(now + outcome.next_step_in_s, deadline_at)
        if outcome.event is Event.TRAINED and isinstance(phase, Trained):
            selected = phase.selected
            record.trained = selected.round_id, selected.assignment_id
            self._keep(selected.round_id, selected.assignment_id, Spool(folder).get(selected.assignment_id))
        elif record.trained is not None and outcome.event is Event.REPORTED:
            round_id, assignment_id = record.trained
            self.acknowledged.setdefault(round_id, set()).add(assignment_id)

    def end_round(self, round_id: str) -> dict[str, FloatArray]:
        """The updates of a round that has ended; forgets them."""
        self._ended.add(round_id)
        return self.updates.pop(round_id, {})

    def of_round(self, round_id: str) -> Set[str]:
        """Whose reports to this round were acknowledged."""
        return self.acknowledged.get(round_id, set())

    def stuck(self, now: float) -> list[str]:
        """A sentence for each device that should have acted by `now`, or gets no answer."""
        failures = []
        for index, record in sorted(self._records.items()):
            self._note_lateness(index, now - record.due_at)
            if now - record.due_at > LATE_S:
                failures.append(
                    f"device {index} must act within {LATE_S:g} s of its time, late by {now - record.due_at:.0f} s"
                )
        index, late_s = self.latest
        if not failures and late_s > LATE_S:
            failures.append(f"device {index} must act within {LATE_S:g} s of its time, was late by {late_s:.0f} s")
        if self.longest_unserved_s > UNSERVED_S:
            failures.append(
                f"a device must get an answer within {UNSERVED_S:g} s, one had none for {self.longest_unserved_s:.0f} s"
            )
        return failures

    def _note_lateness(self, index: int, late_s: float) -> None:
        if late_s > self.latest[1]:
            self.latest = index, late_s

    def _note_service(self, record: _Record, event: Event, now: float) -> None:
        if event is Event.UNAVAILABLE:
            record.unserved_since = now if record.unserved_since is None else record.unserved_since
            self.longest_unserved_s = max(self.longest_unserved_s, now - record.unserved_since)
        elif event not in _NO_NEWS:
            record.unserved_since = None

    def _keep(self, round_id: str, assignment_id: str, payload: bytes) -> None:
        if round_id not in self._ended:
            update = decode_update(payload, self.plan.update_size, self.plan.update_format)
            self.updates.setdefault(round_id, {})[assignment_id] = update
