"""The rounds of all populations, as request handlers see them: check-ins and reports.

Every process serves every request; the rounds' state is in the database. What only one process may do is `leading`'s.
Where this process leads, whatever is due is done before a request observes a population: with one process, time is
applied lazily, and a service whose clock is a file lives a fleet's virtual days. Where another process leads, its
thread (`running`) does that.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.clock import Clock, FileClock
from aggregation_service.coordination.ingest import Ingest, Upload
from aggregation_service.coordination.leading import Leader, LeaderSettings
from aggregation_service.coordination.steering import Steering
from aggregation_service.coordination.tickets import Ticket, check_ticket, token_sha256
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
from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.messages import CheckIn, CheckInAnswer, ComeBack, Receipt, Selected
from protocol.plan import Plan
from protocol.update import read_update

_NONCES_KEPT_S = 60.0
"""Expired nonces are deleted this often."""


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
        self._leader = Leader(database, clock, leadership, self._ingest, settings)
        self._steering = Steering(database, clock, jitter)
        # In virtual time nothing happens between two requests but what they do themselves, so they wait for each other.
        # In real time a device need not wait for a round that closes: the next poll finds whatever is due.
        self._waits = isinstance(clock, FileClock)
        self._nonces_kept_until = 0.0

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
        self.advance(population)
        with self._database.read() as connection:
            record = rounds.find_open_round(connection, population)
            task = None if record is not None else models.active_task(connection, population)
            decision = None if record is None else self._decide(connection, record, message)
        if isinstance(decision, Round):
            selected = self._try_to_select(population, message, caller)
            if isinstance(selected, Selected):
                return selected
            record, decision = selected
        else:
            with self._database.write() as connection:
                self._note_seen(connection, population, message, caller)
        if record is None or decision is None:
            return self._no_round(task)
        return self._turn_away(record.task, decision, message.device_id)

    def population_of(self, round_id: str) -> str:
        """The population that a round belongs to.

        Raises:
          Refused: there is no such round.

        """
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
        self.advance(self.population_of(round_id))
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

    def advance(self, population: str) -> None:
        """Where this process leads: does whatever is due in the population, so that a request observes it done."""
        self._leader.advance(population, wait=self._waits)

    def tick(self) -> bool:
        """Leads, if nobody else does: does whatever is due in every population.

        Returns:
          Whether this process leads.

        Raises:
          SQLAlchemyError: the database failed.

        """
        self._ingest.forget_ended()
        if not self._leader.take_lead():
            return False
        self._forget_nonces()
        with self._database.read() as connection:
            names = models.list_populations(connection)
        for name in names:
            try:
                self._leader.advance(name)
            except SQLAlchemyError:
                raise
            except Exception as error:  # what is wrong with one population must not stop the others
                log.error("population_not_advanced", exc_info=error, extra={"values": {"population": name}})
        return True

    def close(self) -> None:
        """Lets another process lead."""
        self._leader.step_down()

    def _decide(self, connection: Connection, record: RoundRecord, message: CheckIn) -> Round | TurnedAway:
        candidate = Candidate(
            num_examples=message.num_examples,
            last_selected_at=books.last_selected_at(connection, record.population, message.device_id),
            in_this_round=rounds.has_assignment(connection, record.id, message.device_id),
        )
        separation_s = record.task.plan.privacy.minimum_separation_s
        return decide_check_in(record.state, candidate, minimum_separation_s=separation_s, now=self._clock.now())

    def _try_to_select(
        self, population: str, message: CheckIn, caller: Caller
    ) -> Selected | tuple[RoundRecord | None, TurnedAway | None]:
        """Decides again, with the population locked; what was free a moment ago may be taken now."""
        with self._database.write() as connection:
            lock_population(connection, population)
            self._note_seen(connection, population, message, caller)
            record = rounds.find_open_round(connection, population)
            if record is None:
                return None, None
            decision = self._decide(connection, record, message)
            if isinstance(decision, Round):
                return self._select(connection, replace(record, state=decision), message.device_id)
            return record, decision

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

    def _forget_nonces(self) -> None:
        now = self._clock.now()
        if now >= self._nonces_kept_until:
            self._nonces_kept_until = now + _NONCES_KEPT_S
            with self._database.write() as connection:
                nonces.forget_expired(connection, now)


def _clip(payload: bytes, plan: Plan) -> ClippedUpdate:
    """Reads an update and clips it again: no device is trusted with the sensitivity of the sum."""
    try:
        return clip_scaled(read_update(payload, plan.update_size, plan.update_format), plan.privacy.l2_clip_norm)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_UPDATE, str(error)) from None
    except NonFiniteUpdate as error:
        raise Refused(RefusalKind.NON_FINITE_UPDATE, str(error)) from None
