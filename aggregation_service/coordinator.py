"""Joins pure round logic, storage and the sums in memory.

Time is applied lazily: whatever a request observes, `advance` ran first, so no thread or timer is needed. Round state
lives in the database; the running sums live in this process only. A process that finds an open round whose sum it does
not hold (it was restarted, or another one opened it) abandons the round in the open. That is why a service runs as one
process with threads; sums shared by several processes are for a later version to bring.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.clock import Clock
from aggregation_service.closing import close_round
from aggregation_service.logs import log_event
from aggregation_service.opening import draft_round
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.rounds.accumulator import SumAccumulator
from aggregation_service.rounds.pace import after_separation_s, reconnect_after_s
from aggregation_service.rounds.state import (
    AbandonReason,
    Candidate,
    Phase,
    Round,
    RoundOver,
    abandon,
    accept_report,
    advance,
    decide_check_in,
)
from aggregation_service.storage import books, rounds
from aggregation_service.storage.database import Database
from aggregation_service.storage.models import Task
from aggregation_service.storage.rounds import Assignment, RoundRecord
from protocol.clipping import Clipped, clip_to_norm
from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.messages import CheckIn, CheckInAnswer, ComeBack, Receipt, Selected
from protocol.plan import Plan
from protocol.update import decode_update

NO_TASK_BEAT_S = 3600.0
"""How often devices of a population without a task ask again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """A right to report that was checked: made by `authorise`, used by `report` once the body was read."""

    population: str
    round_id: str
    assignment: Assignment
    plan: Plan


class _RunningSum(NamedTuple):
    """The sum of the one round of a population that this process runs."""

    round_id: str
    updates: SumAccumulator


class Coordinator:
    """Runs the rounds of all populations. Thread-safe.

    Guarantees:
      A report is counted at most once: it is noted in the database first and added to the sum in memory next, under
      one lock. If the process dies between the two the sum is lost anyway, and its round is abandoned.
    """

    def __init__(
        self, database: Database, clock: Clock, signing_key: Ed25519PrivateKey, jitter: Callable[[], float]
    ) -> None:
        """Args: `jitter` gives numbers in [0, 1), fresh at each call, for pace steering."""
        self._database = database
        self._clock = clock
        self._signing_key = signing_key
        self._jitter = jitter
        self._lock = threading.RLock()
        self._sums: dict[str, _RunningSum] = {}

    def check_in(self, population: str, message: CheckIn) -> CheckInAnswer:
        """Selects the device into the population's round, opening one if none is open, or says when to come back."""
        with self._lock:
            self.advance(population)
            now = self._clock.now()
            with self._database.write() as connection:
                last_selected_at = books.note_seen(connection, population, message.device_id, now)
                record = rounds.find_open_round(connection, population)
                record = record or draft_round(connection, population, self._signing_key, now)
                if record is None:
                    wait_s = after_separation_s(
                        remaining_s=NO_TASK_BEAT_S, beat_s=NO_TASK_BEAT_S, jitter=self._jitter()
                    )
                    return ComeBack(reconnect_after_s=wait_s, reason="no_task")
                candidate = Candidate(
                    num_examples=message.num_examples,
                    last_selected_at=last_selected_at,
                    in_this_round=rounds.has_assignment(connection, record.id, message.device_id),
                )
                separation_s = record.task.plan.privacy.minimum_separation_s
                decision = decide_check_in(record.state, candidate, minimum_separation_s=separation_s, now=now)
                if isinstance(decision, Round):
                    return self._select(connection, replace(record, state=decision), message.device_id, now)
                stays_away_since = last_selected_at if decision == "minimum_separation" else None
                wait_s = self._reconnect_after_s(connection, record.task, stays_away_since, now)
                return ComeBack(reconnect_after_s=wait_s, reason=decision)

    def population_of(self, round_id: str) -> str:
        """The population that a round belongs to.

        Raises:
          Refused: there is no such round.

        """
        with self._database.read() as connection:
            record = rounds.find_round(connection, round_id)
        if record is None:
            raise Refused(RefusalKind.UNKNOWN_ASSIGNMENT, "there is no such round")
        return record.population

    def authorise(self, round_id: str, assignment_id: str, token: str) -> Ticket:
        """Checks that a report would be welcome, before its body is read.

        Raises:
          Refused: unknown assignment, wrong token, reported already, or too late.

        """
        with self._database.read() as connection:
            assignment = rounds.find_assignment(connection, round_id, assignment_id)
            record = rounds.find_round(connection, round_id)
        if assignment is None or record is None:
            raise Refused(RefusalKind.UNKNOWN_ASSIGNMENT, "there is no such assignment in this round")
        if not hmac.compare_digest(_token_sha256(token), assignment.token_sha256):
            raise Refused(RefusalKind.WRONG_TOKEN, "the token is not this assignment's")
        self.advance(record.population)
        ticket = Ticket(population=record.population, round_id=round_id, assignment=assignment, plan=record.task.plan)
        with self._database.read() as connection:
            _require_open(connection, ticket)
        return ticket

    def report(self, ticket: Ticket, payload: bytes) -> Receipt:
        """Adds an update to its round's sum, and closes the round if that was the last report wanted.

        Raises:
          Refused: malformed, not finite, reported already, or too late; the round stays as it was.

        """
        clipped = _read_update(payload, ticket.plan)
        with self._lock:
            self.advance(ticket.population)
            receipt = self._count(ticket, clipped, len(payload))
            self.advance(ticket.population)
        return receipt

    def advance(self, population: str) -> None:
        """Applies to the population's open round whatever is due: end of selection, close, or abandonment."""
        with self._lock:
            with self._database.read() as connection:
                record = rounds.find_open_round(connection, population)
            if record is None:
                return
            now = self._clock.now()
            if self._sum_of(record) is None:
                state = abandon(record.state, AbandonReason.SUM_LOST, now)
            else:
                state = advance(record.state, now)
            if state != record.state:
                self._move(replace(record, state=state), now)

    def _move(self, record: RoundRecord, now: float) -> None:
        """Stores what `advance` decided. If a close fails the sum is gone, so the next call abandons the round."""
        if record.state.phase is Phase.CLOSED:
            running = self._sums.pop(record.population)
            close_round(self._database, record, running.updates.take(), now)
            return
        with self._database.write() as connection:
            rounds.save_round(connection, record)
        if record.state.phase is Phase.ABANDONED:
            self._sums.pop(record.population, None)
            log_event("round_abandoned", round=record.id, because=record.state.abandoned_because)

    def _select(self, connection: Connection, record: RoundRecord, device_id: str, now: float) -> Selected:
        token = secrets.token_hex(32)
        assignment = Assignment(
            id=secrets.token_hex(16),
            round_id=record.id,
            device_id=device_id,
            token_sha256=_token_sha256(token),
            reported=False,
        )
        if record.state.selected == 1:  # its first device: until now the round was a draft
            rounds.insert_round(connection, record)
            self._sums[record.population] = _RunningSum(record.id, SumAccumulator(record.task.plan.num_weights))
            log_event("round_opened", round=record.id, population=record.population, number=record.number)
        else:
            rounds.save_round(connection, record)
        rounds.insert_assignment(connection, assignment, now)
        books.note_selected(connection, record.population, device_id, now)
        return Selected(
            round_id=record.id,
            assignment_id=assignment.id,
            assignment_token=token,
            report_within_s=record.state.parameters.report_deadline_s,
            manifest=record.manifest,
        )

    def _count(self, ticket: Ticket, clipped: Clipped, payload_bytes: int) -> Receipt:
        now = self._clock.now()
        with self._database.write() as connection:
            record = _require_open(connection, ticket)
            running = self._sum_of(record)
            if running is None:
                raise _too_late()
            try:
                state = accept_report(record.state, was_shortened=clipped.was_clipped, now=now)
            except RoundOver:
                raise _too_late() from None
            participations = books.note_reported(connection, ticket.population, ticket.assignment.device_id)
            rounds.mark_reported(connection, ticket.assignment.id)
            record = replace(
                record,
                state=state,
                bytes_up=record.bytes_up + payload_bytes,
                max_participations=max(record.max_participations, participations),
            )
            rounds.save_round(connection, record)
            wait_s = self._reconnect_after_s(connection, record.task, now, now)
        running.add(clipped.update)
        return Receipt(assignment_id=ticket.assignment.id, reconnect_after_s=wait_s)

    def _sum_of(self, record: RoundRecord) -> SumAccumulator | None:
        running = self._sums.get(record.population)
        return None if running is None or running.round_id != record.id else running.updates

    def _reconnect_after_s(
        self, connection: Connection, task: Task, stays_away_since: float | None, now: float
    ) -> float:
        """Pace steering; a device that was selected stays away for its minimum separation first."""
        beat_s = task.parameters.selection_timeout_s
        jitter = self._jitter()
        paced_s = reconnect_after_s(
            now=now,
            beat_s=beat_s,
            cohort_size=task.parameters.cohort_size(task.plan.privacy.report_goal),
            population_size=books.count_devices(connection, task.population),
            jitter=jitter,
        )
        if stays_away_since is None:
            return paced_s
        remaining_s = stays_away_since + task.plan.privacy.minimum_separation_s - now
        return max(paced_s, after_separation_s(remaining_s=remaining_s, beat_s=beat_s, jitter=jitter))


def _token_sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _require_open(connection: Connection, ticket: Ticket) -> RoundRecord:
    """Reads the ticket's round anew, and refuses if a report for it would come twice or too late."""
    assignment = rounds.find_assignment(connection, ticket.round_id, ticket.assignment.id)
    record = rounds.find_round(connection, ticket.round_id)
    if assignment is not None and assignment.reported:
        raise Refused(RefusalKind.DUPLICATE_REPORT, "this assignment was reported already, and counts once")
    if record is None or not record.state.is_open:
        raise _too_late()
    return record


def _too_late() -> Refused:
    return Refused(RefusalKind.LATE_REPORT, "the round is over")


def _read_update(payload: bytes, plan: Plan) -> Clipped:
    """Decodes an update and clips it again: no device is trusted with the sensitivity of the sum."""
    try:
        return clip_to_norm(decode_update(payload, plan.num_weights), plan.privacy.l2_clip_norm)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_UPDATE, str(error)) from None
    except NonFiniteUpdate as error:
        raise Refused(RefusalKind.NON_FINITE_UPDATE, str(error)) from None
