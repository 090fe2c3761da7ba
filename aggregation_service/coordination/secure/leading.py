"""What only the leader does of secure aggregation: it forms groups, ends their stages, and unmasks their sums."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.clock import Clock
from aggregation_service.coordination.sealed_sums import seal_sum
from aggregation_service.coordination.sealing import RoundKey
from aggregation_service.coordination.secure.background import Background
from aggregation_service.coordination.secure.forming import form_groups, group_sizes
from aggregation_service.coordination.secure.moving import fail_group, move_group
from aggregation_service.coordination.secure.rosters import Rosters
from aggregation_service.coordination.secure.unmasking import store_sum, unmask_group
from aggregation_service.logs import log
from aggregation_service.rounds.accumulator import TakenSum
from aggregation_service.rounds.groups import Failed, GroupFailure, Stage
from aggregation_service.storage import rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.leadership import Deposed
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.secure_groups import GroupRecord

Coordinating = Callable[[str], AbstractContextManager[Connection]]
"""A write transaction that locked the population and made sure that this process leads."""


class GroupLeader:
    """Moves the groups of open rounds. One thread at a time, which sees to that itself.

    Sums are unmasked in the background meanwhile, those of one round at a time.

    Guarantees:
      Every group ends: done, or failed in the open. Each stage lasts `stage_timeout_s` at most after the leader began
      it, so that a round which waits for its groups ends, too.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        coordinating: Coordinating,
        background: Background,
        *,
        privacy_delta: float,
    ) -> None:
        """Makes the leader of a process.

        Args:
          database: of the service.
          clock: likewise.
          coordinating: see there.
          background: where sums are unmasked, which may take seconds each.
          privacy_delta: at which the budget's epsilon is told.

        """
        self._database = database
        self._clock = clock
        self._coordinating = coordinating
        self._background = background
        self._privacy_delta = privacy_delta
        self._rosters = Rosters()

    def advance(self, population: str, key_of: Callable[[RoundRecord], RoundKey | None]) -> None:
        """Does whatever is due in the groups of a population's round, or begins it.

        Args:
          population: an existing one.
          key_of: the key of a round, None if it is lost.

        Raises:
          Deposed: another process leads now.
          SQLAlchemyError: the database failed, now or since the last time.

        """
        while (record := self._due_round(population)) is not None:
            key = key_of(record)
            if key is None:  # the round is abandoned, or gets another key, before its groups go on
                return
            now = self._clock.now()
            with self._coordinating(population) as connection:
                unmasking = self._move_all(connection, record.id, now)
            if unmasking:
                self._background.begin(population, partial(self._unmask_all, record, unmasking, key))

    def stop(self, within_s: float) -> None:
        """Waits for what is being unmasked; if it takes longer it is left to end with the process."""
        self._background.wait(within_s)

    def _due_round(self, population: str) -> RoundRecord | None:
        """The population's round, if anything is due in its groups: the question of every poll, without any lock."""
        self._background.check(population)
        busy = self._background.is_busy
        with self._database.read() as connection:
            record = rounds.find_open_round(connection, population)
            if record is None or not _is_secure(record):
                return None
            now = self._clock.now()
            groups = secure_groups.list_under_way(connection, record.id)
            is_due = any(group.is_due(now) and not (busy and group.stage is Stage.UNMASKING) for group in groups)
            if is_due or group_sizes(record, secure_groups.gathering(connection, record.id), now):
                return record
        return None

    def _move_all(self, connection: Connection, round_id: str, now: float) -> list[GroupRecord]:
        """Forms and moves; returns the groups whose sums are to be unmasked."""
        record = rounds.find_round(connection, round_id)
        if record is None or not _is_secure(record):
            return []
        form_groups(connection, record, now)
        due = [group for group in secure_groups.list_under_way(connection, round_id) if group.is_due(now)]
        for group in due:
            if group.stage is not Stage.UNMASKING:
                move_group(connection, record, group, self._rosters, delta=self._privacy_delta, now=now)
        return [group for group in due if group.stage is Stage.UNMASKING]

    def _unmask_all(self, record: RoundRecord, groups: Sequence[GroupRecord], key: RoundKey) -> None:
        for group in groups:
            self._unmask(record, group, key)

    def _unmask(self, record: RoundRecord, group: GroupRecord, key: RoundKey) -> None:
        """Unmasks outside of any transaction; what it found counts only if the group still waits for it."""
        with self._database.read() as connection:
            current = _still_unmasking(connection, record, group)
        if current is None:
            return
        if current.state.has_its_goal:  # another group brought it meanwhile: this one's sum is not opened at all
            found: TakenSum | Failed = Failed(GroupFailure.ROUND_OVER, "the round has its goal of reports")
        else:
            found = self._sum_of(record, group, key)
        parts = [] if isinstance(found, Failed) else seal_sum(key.public, found, record.id, group.id)
        with self._coordinating(record.population) as connection:
            current = _still_unmasking(connection, record, group)
            if current is None:
                return
            if isinstance(found, Failed):
                fail_group(connection, current, group.id, found, self._clock.now())
            else:
                store_sum(connection, current, group, parts, self._clock.now())

    def _sum_of(self, record: RoundRecord, group: GroupRecord, key: RoundKey) -> TakenSum | Failed:
        try:
            return unmask_group(self._database, record, group, key, self._rosters)
        except (Deposed, SQLAlchemyError):
            raise
        except Exception as error:  # whatever it is ends this group alone
            log.error("unmasking_failed", exc_info=error)
            return Failed(GroupFailure.BROKEN, "the service could not unmask the sum")


def _still_unmasking(connection: Connection, record: RoundRecord, group: GroupRecord) -> RoundRecord | None:
    """The group's round as it is now; None if the group was ended meanwhile, by itself or with its round."""
    stored = secure_groups.find_group(connection, group.id)
    if stored is None or stored.stage is not Stage.UNMASKING:
        return None
    return rounds.find_round(connection, record.id)


def groups_under_way(connection: Connection, record: RoundRecord) -> bool:
    """Whether a round's end waits for groups."""
    return _is_secure(record) and bool(secure_groups.list_under_way(connection, record.id))


def fail_sealed_groups(connection: Connection, record: RoundRecord, now: float) -> None:
    """Fails the groups of whose inputs some may be sealed to a key that was lost, in the open; the others go on."""
    if not _is_secure(record):
        return
    for group in secure_groups.list_under_way(connection, record.id):
        if group.stage is not Stage.SHARING and (group.stage is not Stage.MASKING or group.answered):
            failed = Failed(GroupFailure.KEY_LOST, "the key of its masked sums is lost")
            fail_group(connection, record, group.id, failed, now)


def _is_secure(record: RoundRecord) -> bool:
    return record.state.takes_reports and record.task.plan.secure_aggregation is not None
