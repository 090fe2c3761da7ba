"""The counting of reports: those that come at once are added, sealed and stored together, and only then acknowledged.

Each worker process keeps, for each round of which it takes reports, the sum of what it accepted (`PartialSum`). A
flush adds all waiting reports to it, seals the result to the round's key, and in one transaction stores it, marks the
reports' assignments, spends their nonces, counts the participations and moves the round. If the transaction fails
nothing was counted; and since it may have been committed though it seems to have failed, the worker leaves what is
stored alone and begins another sum beside it.

Where the round's rule needs each update (`rounds.combining`), a flush instead seals each of those that wait and stores
it in the place of its assignment, and the worker keeps nothing. So nothing depends on whether a transaction that seems
to have failed was committed: a report that is sent again is refused as a duplicate if it was, and stored if it was not.
"""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service import metrics
from aggregation_service.clock import Clock
from aggregation_service.coordination.groups import Entry, Group
from aggregation_service.coordination.sealed_sums import seal_sum
from aggregation_service.coordination.sealed_updates import Layout, rule_of, seal_update
from aggregation_service.coordination.tickets import Ticket, duplicate, too_late
from aggregation_service.identity import nonces
from aggregation_service.logs import log
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.rounds.accumulator import ClippedUpdate, PartialSum
from aggregation_service.rounds.combining import Mean
from aggregation_service.rounds.state import RoundOver, accept_report
from aggregation_service.storage import books, partial_sums, rounds
from aggregation_service.storage.database import Database
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.partial_sums import SealedPart
from aggregation_service.storage.rounds import RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A report that was read and clipped, to be counted."""

    ticket: Ticket
    update: ClippedUpdate
    payload_bytes: int


Waiting = Entry[Upload, RoundRecord]


class _SomeRefused(Exception):
    """Some of a group must be refused; leaves the transaction, so that the others are tried without them."""

    def __init__(self, refusals: dict[Waiting, Refused]) -> None:
        super().__init__(f"{len(refusals)} of a group must be refused")
        self.refusals = refusals


class _KeyChanged(Exception):
    """A new leader gave the round, still without reports, a new key."""

    def __init__(self, key: bytes) -> None:
        super().__init__("the round has a new key")
        self.key = key


class _Sum:
    """What this process summed of a round, under a name of its own."""

    def __init__(self, round_id: str, size: int) -> None:
        self._round_id = round_id
        self._worker_id = secrets.token_hex(16)
        self._sum = PartialSum(size)

    def seal(self, key: bytes, uploads: Sequence[Upload]) -> list[SealedPart]:
        """The sum with `uploads`, to be stored in place of the one before; forgotten unless it is accepted."""
        proposed = self._sum.propose([upload.update for upload in uploads])
        return seal_sum(key, proposed, self._round_id, self._worker_id)

    def accept(self) -> None:
        """What was sealed last is stored."""
        self._sum.accept()


class _KeptUpdates:
    """Of rounds that keep each update: nothing but how it is sealed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def seal(self, key: bytes, uploads: Sequence[Upload]) -> list[SealedPart]:
        """The parts of all `uploads`."""
        sealed = (seal_update(key, self._layout, upload.ticket.assignment.id, upload.update) for upload in uploads)
        return list(chain.from_iterable(sealed))

    def accept(self) -> None:
        """What was sealed last is stored; what comes next does not build on it."""


class Ingest:
    """Counts the reports that come to this process. Thread-safe: a call waits until its report is stored, or refused.

    Guarantees:
      A report is counted exactly once, or not at all; and if its call returned, it is counted. At every instant the
      stored sums are exactly the sums of the reports that are marked as counted. (A report whose call raised
      UNAVAILABLE, because the database vanished while it committed, may have been counted; sent again, it is refused
      as a duplicate then.) Memory is two vectors a round, and what is being received; where each update is kept, what
      is being received and once more as float32.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}

    @contextmanager
    def receiving(self, ticket: Ticket) -> Iterator[None]:
        """Says that a report is on its way, from before its body is read until it is counted or refused."""
        with self._lane(ticket).group.expecting():
            yield

    def count(self, upload: Upload) -> RoundRecord:
        """Counts one report, together with those that come meanwhile.

        Returns:
          The round as it was stored with this report.

        Raises:
          Refused: reported already, too late, or its nonce was spent before; UNAVAILABLE: the database failed.

        """
        lane = self._lane(upload.ticket)
        record = lane.group.submit(upload, lane.flush)
        if record.state.has_its_goal:
            self.forget(record.id)
        return record

    def forget(self, round_id: str) -> None:
        """Drops the sum of a round that is over."""
        with self._lock:
            self._lanes.pop(round_id, None)

    def forget_ended(self) -> None:
        """Drops the sums of all rounds that are over, wherever they were ended."""
        with self._lock:
            known = list(self._lanes)
        if known:
            with self._database.read() as connection:
                ended = set(known) - rounds.list_taking_reports(connection, known)
            for round_id in ended:
                self.forget(round_id)

    def _lane(self, ticket: Ticket) -> "_Lane":
        with self._lock:
            lane = self._lanes.get(ticket.round_id)
            if lane is None:
                lane = self._lanes[ticket.round_id] = _Lane(self._database, self._clock, ticket)
            return lane


class _Lane:
    """The reports of one round in this process, and their sum. If there were two for a round, both would be right."""

    def __init__(self, database: Database, clock: Clock, ticket: Ticket) -> None:
        self.group: Group[Upload, RoundRecord] = Group()
        self._database = database
        self._clock = clock
        self._population = ticket.population
        self._round_id = ticket.round_id
        self._plan = ticket.plan
        self._key = ticket.sealing_key
        self._taken: _Sum | _KeptUpdates | None = None

    def flush(self, group: Sequence[Waiting]) -> None:
        """Settles or refuses all of `group`."""
        try:
            self._count_all(group)
        except Exception as error:  # whatever it is, no thread may wait for ever, and none may believe it was counted
            log.error("reports_not_counted", exc_info=error)
            self._taken = None
            for waiting in group:
                if not waiting.is_settled:
                    waiting.refuse(_unavailable() if isinstance(error, SQLAlchemyError) else error)

    def _count_all(self, group: Sequence[Waiting]) -> None:
        """Counts those of `group` that can be counted, in as many tries as it takes to know who they are."""
        left = list(group)
        while left:
            began = time.perf_counter()
            try:
                record = self._count(left)
            except _SomeRefused as some:
                for waiting, refusal in some.refusals.items():
                    waiting.refuse(refusal)
                left = [waiting for waiting in left if not waiting.is_settled]
            except _KeyChanged as changed:
                self._key, self._taken = changed.key, None
            else:
                metrics.flushed(len(left), time.perf_counter() - began)
                for waiting in left:
                    metrics.report_accepted(self._population, waiting.item.payload_bytes)
                    waiting.settle(record)
                return

    def _count(self, group: Sequence[Waiting]) -> RoundRecord:
        """Counts all of `group` in one transaction; the work that needs no lock is done before."""
        self._taken = self._taken or self._begin()
        parts = self._taken.seal(self._key, [waiting.item for waiting in group])
        with self._database.write() as connection:
            lock_population(connection, self._population)
            record = self._accept(connection, group)
            partial_sums.put(connection, self._round_id, parts)
            record = _note_reports(connection, record, [waiting.item for waiting in group])
        self._taken.accept()
        return record

    def _begin(self) -> _Sum | _KeptUpdates:
        """Another sum, or what keeps each update, as the round's rule wants."""
        with self._database.read() as connection:
            record = rounds.find_round(connection, self._round_id)
        if record is None or isinstance(rule_of(record.task), Mean):
            return _Sum(self._round_id, self._plan.update_size)
        return _KeptUpdates(Layout.of(self._round_id, self._plan))

    def _accept(self, connection: Connection, group: Sequence[Waiting]) -> RoundRecord:
        """Checks every report against the round as it is now, and returns the round with all of them."""
        record = rounds.find_round(connection, self._round_id)
        if record is None:
            raise _SomeRefused({waiting: too_late() for waiting in group})
        if record.state.takes_reports and record.sealing_key is not None and record.sealing_key != self._key:
            raise _KeyChanged(record.sealing_key)
        unreported = rounds.list_unreported(
            connection, self._round_id, [waiting.item.ticket.assignment.id for waiting in group]
        )
        state, refusals, now = record.state, dict[Waiting, Refused](), self._clock.now()
        for waiting in group:
            ticket = waiting.item.ticket
            try:
                if ticket.assignment.id not in unreported:
                    raise duplicate()
                state = accept_report(state, was_shortened=waiting.item.update.was_clipped, now=now)
                nonces.spend(connection, ticket.caller)
                unreported.remove(ticket.assignment.id)
            except RoundOver:
                refusals[waiting] = too_late()
            except Refused as refusal:
                refusals[waiting] = refusal
        if refusals:
            raise _SomeRefused(refusals)
        return replace(record, state=state)


def _note_reports(connection: Connection, record: RoundRecord, uploads: Sequence[Upload]) -> RoundRecord:
    """Writes what follows from accepted reports: assignments, participations, the round."""
    rounds.mark_reported(connection, [upload.ticket.assignment.id for upload in uploads])
    device_ids = [upload.ticket.assignment.device_id for upload in uploads]
    participations = books.note_reported(connection, record.population, device_ids)
    record = replace(
        record,
        bytes_up=record.bytes_up + sum(upload.payload_bytes for upload in uploads),
        max_participations=max(record.max_participations, participations),
    )
    rounds.save_round(connection, record)
    return record


def _unavailable() -> Refused:
    return Refused(
        RefusalKind.UNAVAILABLE, "the service cannot count reports just now; try again", headers={"Retry-After": "5"}
    )
