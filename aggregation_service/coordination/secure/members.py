"""What members of groups ask of the service: to take their messages, and to tell them those of the others.

Any process serves them. Which stage a group is at, only the leader decides (`moving`).
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aggregation_service.clock import Clock
from aggregation_service.coordination.secure.masked_ingest import MaskedIngest, MaskedUpload
from aggregation_service.coordination.secure.rosters import Rosters, task_of
from aggregation_service.coordination.secure.standing import Standing, changed, ended, read_standing, reread, too_early
from aggregation_service.coordination.steering import Steering
from aggregation_service.identity import devices, nonces
from aggregation_service.identity.caller import Caller
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.rounds.groups import STAGES_UNDER_WAY, Stage, Turn, stage_before, turn_to_be_told, turn_to_send
from aggregation_service.storage import rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.secure_groups import KEYS, GroupRecord
from protocol.errors import MalformedMessage
from protocol.messages import Receipt
from protocol.secure_aggregation import server, unmasking
from protocol.secure_aggregation.errors import SecureAggregationError
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.masked_input import read_masked_input
from protocol.secure_aggregation.packing import packed_bytes
from protocol.secure_aggregation.shares import SEALED_BYTES
from protocol.secure_aggregation.survivors import from_bitmap

_SLACK_BYTES = 1024
"""More than any message needs beside what grows with the group or the update."""


class Members:
    """Serves the members of all groups. Thread-safe.

    Guarantees:
      What was answered by success is stored. The same message again is answered the same, and counts once; another one
      of its stage is refused.
    """

    def __init__(self, database: Database, clock: Clock, steering: Steering, advance: Callable[[str], None]) -> None:
        """Args: `advance` has the leader, if it is this process, do what is due in a population."""
        self._database = database
        self._clock = clock
        self._steering = steering
        self._advance = advance
        self._rosters = Rosters()
        self._ingest = MaskedIngest(database)

    def standing(self, round_id: str, assignment_id: str, token: str, caller: Caller) -> Standing:
        """Where a device stands.

        Raises:
          Refused: as `read_standing`.

        """
        with self._database.read() as connection:
            return read_standing(connection, round_id=round_id, assignment_id=assignment_id, token=token, caller=caller)

    def max_bytes(self, standing: Standing, message: str) -> int:
        """How long a message may be at most, by the plan."""
        plan = standing.record.task.plan
        secure = plan.secure_aggregation
        if secure is None or message == "keys":
            return _SLACK_BYTES
        if message == "masked-input":
            return packed_bytes(plan.update_size, secure.value_bits) + _SLACK_BYTES
        return secure.max_members * SEALED_BYTES + _SLACK_BYTES

    def advertise(self, standing: Standing, body: bytes) -> None:
        """Takes a bundle of keys: the device waits for a group.

        Raises:
          Refused: malformed or not the device's; it sent another one before; the round takes no more; its nonce was
            spent.

        """
        sha256 = hashlib.sha256(body).digest()
        if _was_sent(standing, KEYS, sha256):
            return
        _require_new(standing)
        self._check_open(standing)
        with self._database.read() as connection:
            device = devices.find(connection, standing.record.population, standing.caller.device_id)
        if device is None:
            raise Refused(RefusalKind.UNKNOWN_DEVICE, "the device must be enrolled in this population first")
        with _refusing():
            server.accept_bundle(body, task_of(standing.record), device.public_key.public_bytes_raw())
        with self._database.write() as connection:
            lock_population(connection, standing.record.population)
            fresh = reread(connection, standing)
            if _was_sent(fresh, KEYS, sha256):
                return
            _require_new(fresh)
            self._check_open(fresh)
            nonces.spend(connection, standing.caller)
            secure_groups.add_member(connection, fresh.record.id, fresh.assignment.id, self._clock.now())
            secure_groups.add_message(connection, fresh.assignment.id, KEYS, sha256, body)
            rounds.add_bytes(connection, fresh.record.id, len(body))
        self._advance(standing.record.population)

    def check_turn(self, standing: Standing, stage: Stage) -> None:
        """Checks, before a body is read, that a member's message of `stage` would be welcome.

        Raises:
          Refused: GROUP_ENDED: the member is not in its group any more. WRONG_STAGE: it is not its turn yet.

        """
        if stage not in standing.sent or (standing.group is not None and standing.group.stage is Stage.FAILED):
            _require_turn(standing, stage)

    @contextmanager
    def receiving(self, standing: Standing, stage: Stage) -> Iterator[None]:
        """Wraps the reading of a message's body and its `answer`, so that masked inputs share a commit."""
        if stage is not Stage.MASKING or standing.group is None or stage in standing.sent:
            yield
            return
        with self._ingest.receiving(standing, standing.group.id):
            yield

    def answer(self, standing: Standing, stage: Stage, body: bytes) -> Receipt | None:
        """Takes a member's message of a stage.

        Returns:
          After its last message a receipt.

        Raises:
          Refused: as `check_turn`; malformed, of another session or sender; it sent another one before; its nonce was
            spent; or UNAVAILABLE, if the database failed.

        """
        sha256 = hashlib.sha256(body).digest()
        if not _was_sent(standing, stage, sha256):
            record = self._accept(standing, stage, body, sha256)
            if record.is_due(self._clock.now()):
                self._advance(standing.record.population)
        return self._receipt(standing) if stage is Stage.UNMASKING else None

    def tell(self, standing: Standing, stage: Stage) -> bytes | None:
        """What a member is told at the beginning of `stage`; None while others are waited for.

        Raises:
          Refused: GROUP_ENDED: the member is not in its group any more. WRONG_STAGE: it has not answered before.

        """
        if standing.member is None:
            raise _too_early_or_ended(standing)
        if standing.group is None:
            if not standing.record.state.takes_reports:
                raise ended()
            if stage is not Stage.SHARING:
                raise too_early()
            return None
        before = stage_before(stage)
        turn = turn_to_be_told(
            standing.group.stage,
            stage,
            takes_part=standing.group.takes_part(standing.place),
            has_answered=before is None or before in standing.sent,
        )
        if turn is Turn.LATER:
            return None
        _require(turn)
        return self._told(standing, standing.group, stage)

    def forget_ended(self) -> None:
        """Drops the sums of groups that take no inputs any more."""
        self._ingest.forget_ended()

    def _accept(self, standing: Standing, stage: Stage, body: bytes, sha256: bytes) -> GroupRecord:
        record = _require_turn(standing, stage)
        group = self._group_of(standing)
        with _refusing():
            if stage is Stage.MASKING:
                lanes = read_masked_input(body, group.parameters, group.session_id, standing.place)
                upload = MaskedUpload(
                    standing=standing, place=standing.place, lanes=lanes, sha256=sha256, payload_bytes=len(body)
                )
                return self._ingest.add(upload, record.id, group)
            content = _read_message(group, record, standing.place, stage, body)
        return self._store(standing, stage, sha256, content, len(body))

    def _store(
        self, standing: Standing, stage: Stage, sha256: bytes, content: bytes, payload_bytes: int
    ) -> GroupRecord:
        with self._database.write() as connection:
            lock_population(connection, standing.record.population)
            fresh = reread(connection, standing)
            if _was_sent(fresh, stage, sha256) and fresh.group is not None:
                return fresh.group
            record = _require_turn(fresh, stage)
            nonces.spend(connection, standing.caller)
            secure_groups.add_message(connection, fresh.assignment.id, stage, sha256, content)
            secure_groups.count_answers(connection, record.id, stage, 1)
            rounds.add_bytes(connection, fresh.record.id, payload_bytes)
            return secure_groups.find_group(connection, record.id) or record

    def _told(self, standing: Standing, record: GroupRecord, stage: Stage) -> bytes:
        group, place = self._group_of(standing), standing.place
        if stage is Stage.SHARING:
            return server.roster_for(group, place)
        if stage is Stage.CONFIRMING:
            return server.survivor_list(group, _members(record.survivors, group))
        sent_at = Stage.SHARING if stage is Stage.MASKING else Stage.CONFIRMING
        with self._database.read() as connection:
            contents = secure_groups.list_contents(connection, record.id, sent_at, group.neighbours[place])
            current = secure_groups.find_group(connection, record.id)
        if current is None or current.stage not in STAGES_UNDER_WAY:  # it ended this moment, and these are deleted
            raise ended()
        if stage is Stage.MASKING:
            return server.delivery_for(group, _members(record.sharers, group), contents, place)
        return server.confirmations_for(group, contents, place)

    def _receipt(self, standing: Standing) -> Receipt:
        wait_s = self._steering.reconnect_after_s(standing.record.task, self._clock.now())
        return Receipt(assignment_id=standing.assignment.id, reconnect_after_s=wait_s)

    def _group_of(self, standing: Standing) -> Group:
        if standing.group is None:
            raise _too_early_or_ended(standing)
        with self._database.read() as connection:
            group = self._rosters.find(connection, standing.group.id)
        if group is None:
            raise ended()
        return group

    def _check_open(self, standing: Standing) -> None:
        if not standing.may_advertise(self._clock.now()):
            raise ended()


def _require_new(standing: Standing) -> None:
    """Refuses a device that advertised before and whose bundle is gone: its group has ended."""
    if standing.member is not None and KEYS not in standing.sent:
        raise ended()


def _was_sent(standing: Standing, stage: str, sha256: bytes) -> bool:
    """Whether this very message is there already; refuses another one."""
    sent = standing.sent.get(stage)
    if sent is not None and sent != sha256:
        raise changed()
    return sent is not None


def _require_turn(standing: Standing, stage: Stage) -> GroupRecord:
    """The group of a member that may send its message of `stage` now."""
    if standing.group is None:
        raise _too_early_or_ended(standing)
    takes_part = standing.group.takes_part(standing.place)
    _require(turn_to_send(standing.group.stage, stage, takes_part=takes_part))
    return standing.group


def _require(turn: Turn) -> None:
    if turn is Turn.OVER:
        raise ended()
    if turn is not Turn.NOW:
        raise too_early()


def _too_early_or_ended(standing: Standing) -> Refused:
    return too_early() if standing.record.state.takes_reports else ended()


def _read_message(group: Group, record: GroupRecord, place: int, stage: Stage, body: bytes) -> bytes:
    """What is to be stored of a member's message."""
    if stage is Stage.SHARING:
        return server.accept_shares(group, place, body)
    sharers, survivors = _members(record.sharers, group), _members(record.survivors, group)
    accept = server.accept_confirmation if stage is Stage.CONFIRMING else unmasking.accept_unmasking
    return accept(group, sharers, survivors, place, body)


def _members(bitmap: bytes | None, group: Group) -> frozenset[int]:
    return from_bitmap(bitmap or b"", len(group.bundles))


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns what is wrong with a message into a refusal."""
    try:
        yield
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_MESSAGE, str(error)) from None
    except SecureAggregationError as error:
        raise Refused(RefusalKind.WRONG_GROUP_MESSAGE, str(error)) from None
