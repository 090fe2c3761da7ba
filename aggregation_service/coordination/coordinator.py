"""The rounds of all populations, as request handlers see them: check-ins and reports.

Every process serves every request; the rounds' state is in the database. What only one process may do is `leading`'s.
Where this process leads, whatever is due is done before a request observes a population: with one process, time is
applied lazily, and a service whose clock is a file lives a fleet's virtual days. Where another process leads, its
thread (`running`) does that.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.clock import Clock, FileClock
from aggregation_service.coordination.clipping import check_bit
from aggregation_service.coordination.ingest import Ingest, Upload
from aggregation_service.coordination.leading import Leader, LeaderSettings
from aggregation_service.coordination.noise import may_take_part
from aggregation_service.coordination.secure.background import Background, at_once, in_thread
from aggregation_service.coordination.secure.members import Members
from aggregation_service.coordination.steering import Steering
from aggregation_service.coordination.tickets import Ticket, check_ticket, token_sha256
from aggregation_service.coordination.troubles import Troubles
from aggregation_service.identity import nonces
from aggregation_service.identity.caller import Caller
from aggregation_service.logs import log, log_event
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.rounds.accumulator import ClippedUpdate, clip_scaled
from aggregation_service.rounds.state import Candidate, Round, TurnedAway, decide_check_in
from aggregation_service.storage import books, models, rounds
from aggregation_service.storage.database import Database
from aggregation_service.storage.leadership import Leadership
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import Task
from aggregation_service.storage.rounds import Assignment, RoundRecord
from protocol.discovery.votes import check_votes
from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.messages import CheckIn, CheckInAnswer, ComeBack, Receipt, Selected
from protocol.plan import Plan
from protocol.update import read_update

_TIDIED_EVERY_S = 60.0
"""Expired nonces, old checkpoints and files that nothing names are deleted this often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What a check-in finds, all in one transaction: the open round and what it decides, or else the running task."""

    record: RoundRecord | None = None
    decision: Round | TurnedAway | None = None
    task: Task | None = None


class Coordinator:
    """Serves the rounds of all populations in one of the service's processes. Thread-safe.

    Guarantees:
      A report is counted at most once, and is on the disk, summed, when its receipt is given (`ingest`).
      Any number of processes may serve one database; at most one of them leads (`leading`).
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        leadership: Leadership,
        settings: LeaderSettings,
        jitter: Callable[[], float],
    ) -> None:
        """Args: `jitter` gives numbers in [0, 1), fresh at each call, for pace steering."""
        self._database = database
        self._clock = clock
        self._ingest = Ingest(database, clock)
        # In virtual time nothing happens between two requests but what they do themselves, so they wait for each other.
        # In real time a device need not wait for a round that closes: the next poll finds whatever is due.
        self._waits = isinstance(clock, FileClock)
        background = Background(at_once if self._waits else in_thread)
        self._leader = Leader(database, clock, leadership, self._ingest, settings, background=background)
        self._steering = Steering(database, clock, jitter)
        self._troubles = Troubles()
        self._remembered_population_of = lru_cache(maxsize=1024)(self._read_population_of)
        self.secure = Members(database, clock, self._steering, self.advance)
        self._tidied_until = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._leader.leads

    def check_in(self, population: str, message: CheckIn, caller: Caller) -> CheckInAnswer:
        """Selects the device into the population's round, or says when to come back.

        Raises:
          Refused: another device's check-in, or one that was served before.

        """
        caller.check_device(message.device_id)
        self.catch_up(population)
        with self._database.read() as connection:
            look = self._look(connection, population, message)
        with self._database.write() as connection:
            if isinstance(look.decision, Round):  # decided again: what was free a moment ago may be taken now
                lock_population(connection, population)
                look = self._look(connection, population, message)
            self._note_seen(connection, population, message, caller)
            if look.record is not None and isinstance(look.decision, Round):
                return self._select(connection, replace(look.record, state=look.decision), message.device_id)
        if look.record is None or not isinstance(look.decision, str):
            return self._no_round(look.task)
        return self._turn_away(look.record.task, look.decision, message.device_id)

    def population_of(self, round_id: str) -> str:
        """The population that a round belongs to, for ever; each of a cohort's requests asks it.

        Raises:
          Refused: there is no such round.

        """
        return self._remembered_population_of(round_id)

    def _read_population_of(self, round_id: str) -> str:
        with self._database.read() as connection:
            population = rounds.population_of(connection, round_id)
        if population is None:
            raise Refused(RefusalKind.UNKNOWN_ASSIGNMENT, "there is no such round")
        return population

    def authorise(self, round_id: str, assignment_id: str, token: str, caller: Caller) -> Ticket:
        """Checks that a report would be welcome, before its body is read.

        Raises:
          Refused: unknown assignment, wrong token, another device's assignment, reported already, or too late.

        """
        with self._database.read() as connection:
            return check_ticket(
                connection,
                round_id=round_id,
                assignment_id=assignment_id,
                token=token,
                caller=caller,
                now=self._clock.now(),
            )

    @contextmanager
    def receiving(self, ticket: Ticket) -> Iterator[None]:
        """Wraps the reading of a report's body and its `report`, so that reports on their way share a commit."""
        with self._ingest.receiving(ticket):
            yield

    def report(self, ticket: Ticket, payload: bytes) -> Receipt:
        """Adds an update to its round's sum, and closes the round if that was the last report wanted.

        Raises:
          Refused: malformed, not finite, reported already, or too late, and the round stays as it was; or UNAVAILABLE,
            if the database failed.

        """
        update = _clip(payload, ticket.plan)
        record = self._ingest.count(Upload(ticket=ticket, update=update, payload_bytes=len(payload)))
        try:
            if record.state.has_its_goal:
                self.advance(ticket.population)
            wait_s = self._steering.reconnect_after_s(record.task, self._clock.now())
        except SQLAlchemyError as error:  # the report is counted, and its device must learn that
            log.error("report_not_followed_up", exc_info=error)
            wait_s = self._steering.until_round_s(record.task)
        return Receipt(assignment_id=ticket.assignment.id, reconnect_after_s=wait_s)

    def catch_up(self, population: str) -> None:
        """In virtual time, where this process leads: `advance`, so that a request observes done what is due.

        In real time the thread does it, within a fraction of a second, and no request need ask first.
        """
        if self._waits:
            self.advance(population)

    def advance(self, population: str) -> None:
        """Where this process leads: does whatever is due in the population.

        Guarantees:
          Raises nothing: a device must not suffer from what the leader cannot do, which is logged.
        """
        if self._troubles.is_waiting(population) and not self._waits:
            return
        try:
            self._leader.advance(population, wait=self._waits)
        except Exception as error:
            self._troubles.note_failure(population, error)
        else:
            self._troubles.note_success(population)

    def tick(self) -> bool:
        """Leads, if nobody else does: does whatever is due in every population, but those that must wait (`Troubles`).

        Returns:
          Whether this process leads.

        Raises:
          SQLAlchemyError: the database failed.

        """
        self._ingest.forget_ended()
        self.secure.forget_ended()
        if not self._leader.take_lead():
            return False
        with self._database.read() as connection:
            names = models.list_populations(connection)
        for name in names:
            if not self._troubles.is_waiting(name):
                self._lead(name)
        self._tidy()
        return True

    def close(self) -> None:
        """Lets another process lead."""
        self._leader.step_down()

    def _lead(self, population: str) -> None:
        """Does what is due in a population; what is wrong with one must not stop the others.

        Raises:
          SQLAlchemyError: the database failed, and so for all.

        """
        try:
            self._leader.advance(population)
        except SQLAlchemyError:
            raise
        except Exception as error:
            self._troubles.note_failure(population, error)
        else:
            self._troubles.note_success(population)

    def _look(self, connection: Connection, population: str, message: CheckIn) -> _Look:
        record = rounds.find_open_round(connection, population)
        if record is None:
            return _Look(task=models.active_task(connection, population))
        if record.task.kind == "discovery" and message.discovers_words is not True:
            return _Look(task=record.task)  # to this device there is no round
        return _Look(record=record, decision=self._decide(connection, record, message))

    def _decide(self, connection: Connection, record: RoundRecord, message: CheckIn) -> Round | TurnedAway:
        if not may_take_part(connection, record.task, message.device_id):
            return "minimum_separation"
        candidate = Candidate(
            num_examples=message.num_examples,
            last_selected_at=books.last_selected_at(connection, record.population, message.device_id),
            in_this_round=rounds.has_assignment(connection, record.id, message.device_id),
        )
        separation_s = record.task.plan.privacy.minimum_separation_s
        return decide_check_in(record.state, candidate, minimum_separation_s=separation_s, now=self._clock.now())

    def _select(self, connection: Connection, record: RoundRecord, device_id: str) -> Selected:
        now, token = self._clock.now(), secrets.token_hex(32)
        assignment = Assignment(
            id=secrets.token_hex(16),
            round_id=record.id,
            device_id=device_id,
            token_sha256=token_sha256(token),
            reported=False,
        )
        if record.state.selected == 1:
            log_event("round_opened", round=record.id, population=record.population, number=record.number)
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

    def _note_seen(self, connection: Connection, population: str, message: CheckIn, caller: Caller) -> None:
        nonces.spend(connection, caller)
        if books.note_seen(connection, population, message.device_id, message.runtime, self._clock.now()):
            self._steering.note_new_device(population)

    def _no_round(self, task: Task | None) -> ComeBack:
        if task is None:
            return ComeBack(reconnect_after_s=self._steering.without_task_s(), reason="no_task")
        return ComeBack(reconnect_after_s=self._steering.until_round_s(task), reason="no_round")

    def _turn_away(self, task: Task, reason: TurnedAway, device_id: str) -> ComeBack:
        last = None
        if reason == "minimum_separation":
            with self._database.read() as connection:
                last = books.last_selected_at(connection, task.population, device_id)
        return ComeBack(reconnect_after_s=self._steering.reconnect_after_s(task, last), reason=reason)

    def _tidy(self) -> None:
        """Deletes what nobody needs; what is much over several ticks, so that rounds need not wait for it."""
        now = self._clock.now()
        if now < self._tidied_until:
            return
        with self._database.write() as connection:
            nonces.forget_expired(connection, now)
        try:
            has_more = self._leader.prune()
        except Exception as error:  # no round needs what is deleted, nor the deletion
            log.error("not_pruned", exc_info=error)
            has_more = False
        if not has_more:
            self._tidied_until = now + _TIDIED_EVERY_S


def _clip(payload: bytes, plan: Plan) -> ClippedUpdate:
    """Reads an update and clips it again: no device is trusted with the sensitivity of the sum."""
    try:
        update = read_update(payload, plan.update_size, plan.update_format)
        check_bit(update, plan.privacy)
        if plan.ballot is not None:
            check_votes(update.values, plan.ballot.parameters.max_words)
        return clip_scaled(update, plan.privacy.report_norm)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_UPDATE, str(error)) from None
    except NonFiniteUpdate as error:
        raise Refused(RefusalKind.NON_FINITE_UPDATE, str(error)) from None
