"""What only the leader does: it makes rounds, moves them on when they are due, closes them.

One process leads at a time (`storage.leadership`). It alone holds the rounds' keys, in memory. Every transaction in
which it writes checks that it still leads, so a leader that was cut off and comes back can spoil nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.clock import Clock
from aggregation_service.coordination.budget import affordable_task, exceeds_budget
from aggregation_service.coordination.closing import close_round
from aggregation_service.coordination.ingest import Ingest
from aggregation_service.coordination.opening import is_current, make_standing_round
from aggregation_service.coordination.sealing import RoundKey
from aggregation_service.coordination.secure.background import Background
from aggregation_service.coordination.secure.leading import GroupLeader, fail_sealed_groups, groups_under_way
from aggregation_service.logs import log, log_event
from aggregation_service.pruning import prune
from aggregation_service.releases.publishing import Signer
from aggregation_service.rounds.groups import GroupFailure
from aggregation_service.rounds.state import AbandonReason, Phase, abandon, advance, nobody_came
from aggregation_service.storage import models, rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.leadership import Deposed, Leadership
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.rounds import RoundRecord

_STOPS_WITHIN_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderSettings:
    """What a leader needs beside database and clock. `privacy_delta`: at which the budget's epsilon is told."""

    signing_key: Ed25519PrivateKey
    privacy_delta: float


class Leader:
    """A candidate for leading, and the leader's work. Thread-safe.

    Guarantees:
      A round whose key was lost with the process that held it is abandoned in the open if it has reports, and given a
      new key if it has none. A close that fails is abandoned in the open, too; what it spent is in the ledger.
      A round's key is forgotten once `advance` finds that the round is over, whoever ended it.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        leadership: Leadership,
        ingest: Ingest,
        settings: LeaderSettings,
        *,
        background: Background,
    ) -> None:
        self._database = database
        self._clock = clock
        self._leadership = leadership
        self._ingest = ingest
        self._settings = settings
        self._groups = GroupLeader(
            database, clock, self._coordinating, background, privacy_delta=settings.privacy_delta
        )
        self._lock = threading.RLock()
        self._keys: dict[str, RoundKey] = {}  # by population, which has one open round

    @property
    def leads(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._leadership.epoch is not None

    def take_lead(self) -> bool:
        """Becomes the leader if nobody is, or makes sure that it still is.

        Keys are kept while nobody else leads: a database that restarts frees the lock, and costs no round.
        """
        before = self._leadership.epoch
        if not self._leadership.acquire():
            self._forget_keys()
            return False
        if self._leadership.epoch != before:
            log_event("coordinator_leads", epoch=self._leadership.epoch)
        return True

    def step_down(self) -> None:
        """Lets another lead; rounds that have reports will be abandoned, and what is being unmasked is let go."""
        with self._lock:
            self._keys.clear()
            self._leadership.release()
        self._groups.stop(_STOPS_WITHIN_S)

    def advance(self, population: str, *, wait: bool = True) -> None:
        """Does whatever is due in a population: a round to be made, moved on, closed or abandoned.

        Does nothing if another process leads, or, unless `wait`, if another thread of this one is at it.
        """
        if not self.leads or not self._lock.acquire(blocking=wait):
            return
        try:
            self._groups.advance(population, self._key_of)
            closing = self._step(population)
            if closing is not None:
                self._close(closing)
                self._step(population)  # abandons it if that failed, and makes the next
        except Deposed:
            self._forget_keys()
            log_event("coordinator_deposed")
        finally:
            self._lock.release()

    def prune(self) -> bool:
        """Where this process leads: deletes some of what nobody needs; returns whether there may be more.

        Raises:
          MalformedMessage: as `pruning.prune`.

        """
        if not self.leads:
            return False
        try:
            return prune(self._database, self._leadership.check, self._clock.now())
        except Deposed:
            self._forget_keys()
            return False

    def _step(self, population: str) -> RoundRecord | None:
        """Moves the population's round on, or makes the next; returns it if its sums are to be taken now."""
        now = self._clock.now()
        with self._database.read() as connection:
            record = rounds.find_open_round(connection, population)
            if record is None:
                self._keys.pop(population, None)
            if not self._is_due(connection, population, record, now):
                return None
        with self._coordinating(population) as connection:
            record = rounds.find_open_round(connection, population)
            record = None if record is None else self._move(connection, record, now)
        if record is None:
            with self._coordinating(population) as connection:  # if none can be made, the one before has ended anyway
                self._make_round(connection, population, now)
            return None
        return record if record.state.phase is Phase.CLOSING else None

    def _is_due(self, connection: Connection, population: str, record: RoundRecord | None, now: float) -> bool:
        """Whether there is anything to write: the question of every poll, asked without any lock."""
        if record is None:
            return models.active_task_id(connection, population) is not None
        if record.state.is_standing and (not is_current(connection, record) or _gives_way(connection, record, now)):
            return True
        is_closing = record.state.phase is Phase.CLOSING
        if is_closing or self._key_of(record) is None:
            return True
        return advance(record.state, now, groups_under_way=groups_under_way(connection, record)) != record.state

    def _move(self, connection: Connection, record: RoundRecord, now: float) -> RoundRecord | None:
        """Applies what is due; returns the round as it is then, None if it is over."""
        if _retire_standing(connection, record, now):
            return None
        if self._key_of(record) is None:
            if record.state.reported or record.state.phase is Phase.CLOSING:
                self._abandon(connection, record, AbandonReason.KEY_LOST, now)
                return None
            record = replace(record, sealing_key=self._new_key(record.population))
            fail_sealed_groups(connection, record, now)
        elif record.state.phase is Phase.CLOSING:  # this process began to close it, and did not get through
            self._abandon(connection, record, AbandonReason.CLOSE_FAILED, now)
            return None
        state = advance(record.state, now, groups_under_way=groups_under_way(connection, record))
        if state.abandoned_because is not None:
            self._abandon(connection, record, state.abandoned_because, state.ended_at or now)
            return None
        if state.phase is Phase.CLOSING and self._is_too_costly(connection, record):
            self._abandon(connection, record, AbandonReason.BUDGET_SPENT, now)
            return None
        record = replace(record, state=state)
        rounds.save_round(connection, record)
        if state.phase is Phase.CLOSING:
            secure_groups.end_all(connection, record.id, GroupFailure.ROUND_OVER, now)
        return record

    def _make_round(self, connection: Connection, population: str, now: float) -> None:
        self._keys.pop(population, None)
        task = affordable_task(connection, population, self._settings.privacy_delta, now)
        if task is None:
            return
        record = make_standing_round(
            connection,
            task,
            signing_key=self._settings.signing_key,
            sealing_key=self._new_key(population),
            now=now,
        )
        if record is not None:
            rounds.insert_round(connection, record)

    def _abandon(self, connection: Connection, record: RoundRecord, because: AbandonReason, now: float) -> None:
        rounds.retire_open_round(connection, record.population, because, now)
        self._ingest.forget(record.id)
        log_event("round_abandoned", round=record.id, because=because, reports=record.state.reported)

    def _close(self, record: RoundRecord) -> None:
        """Closes a round. A failure is logged, and the round left as it is, for `_step` to abandon."""
        self._ingest.forget(record.id)
        key, fence = self._keys[record.population], self._leadership.check
        signer = Signer(key=self._settings.signing_key, delta=self._settings.privacy_delta)
        try:
            close_round(self._database, record, key, fence=fence, signer=signer, now=self._clock.now())
        except Deposed:
            raise
        except Exception as error:  # full disks, lost connections, weights that overflow: all end this round alone
            log.error("close_failed", exc_info=error)

    def _is_too_costly(self, connection: Connection, record: RoundRecord) -> bool:
        delta = self._settings.privacy_delta
        return exceeds_budget(connection, record.task, participations=record.max_participations, delta=delta)

    @contextmanager
    def _coordinating(self, population: str) -> Iterator[Connection]:
        with self._database.write() as connection:
            lock_population(connection, population)
            self._leadership.check(connection)
            yield connection

    def _key_of(self, record: RoundRecord) -> RoundKey | None:
        key = self._keys.get(record.population)
        return key if key is not None and key.public == record.sealing_key else None

    def _new_key(self, population: str) -> bytes:
        key = self._keys[population] = RoundKey()
        return key.public

    def _forget_keys(self) -> None:
        with self._lock:
            self._keys.clear()


def _retire_standing(connection: Connection, record: RoundRecord, now: float) -> bool:
    """Ends a round that nobody is in yet and that is not to be, or not now; returns whether it was one."""
    if record.state.is_standing and not is_current(connection, record):
        rounds.retire_open_round(connection, record.population, AbandonReason.TASK_REPLACED, now)
        return True
    if _gives_way(connection, record, now):  # it stays in the books, unlike others that stood: the turn is training's
        state = abandon(record.state, AbandonReason.TOO_FEW_DEVICES, now)
        rounds.save_round(connection, replace(record, state=state))
        return True
    return False


def _gives_way(connection: Connection, record: RoundRecord, now: float) -> bool:
    """Whether a discovery has waited in vain for devices whose owners allow it, and there is training to be done."""
    if record.task.kind != "discovery" or not nobody_came(record.state, now):
        return False
    return models.find_running(connection, record.population, "training") is not None
