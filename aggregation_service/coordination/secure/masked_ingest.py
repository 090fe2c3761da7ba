"""The adding of masked inputs: those that come at once are added, sealed and stored together, and then acknowledged.

As `coordination.ingest` does with plain reports, in lanes and by group: each worker process keeps, for each group of
which it takes inputs, the sum of what it accepted. If a transaction seems to have failed, what is stored is left alone
and another sum begun beside it.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.coordination.groups import Entry
from aggregation_service.coordination.groups import Group as Commits
from aggregation_service.coordination.secure.sealed_lanes import seal_lanes
from aggregation_service.coordination.secure.standing import Standing, changed, ended
from aggregation_service.identity import nonces
from aggregation_service.logs import log
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.rounds.groups import Stage
from aggregation_service.storage import masked_sums, rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.secure_groups import GroupRecord
from protocol.lanes import LaneArray
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.server import PartialSum, begin_sum


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedUpload:
    """A masked input that was read, to be added. `place` is its sender's in the roster."""

    standing: Standing
    place: int
    lanes: LaneArray
    sha256: bytes
    payload_bytes: int


Waiting = Entry[MaskedUpload, GroupRecord]


class _Repeated(Exception):
    """Some of those that wait were stored before, or must be refused; the others are tried without them."""

    def __init__(self, refusals: dict[Waiting, Refused | GroupRecord]) -> None:
        super().__init__(f"{len(refusals)} of those that wait need not be added")
        self.refusals = refusals


class _KeyChanged(Exception):
    """A new leader gave the round, still without sums, a new key."""

    def __init__(self, key: bytes) -> None:
        super().__init__("the round has a new key")
        self.key = key


class MaskedIngest:
    """Adds the masked inputs that come to this process. Thread-safe: a call waits until its input is stored or refused.

    Guarantees:
      An input is in the stored sums of its group exactly if its message is stored, and at most once. Memory is two
      vectors of lanes a group, and what is being received.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._adders: dict[str, _Adder] = {}

    @contextmanager
    def receiving(self, standing: Standing, group_id: str) -> Iterator[None]:
        """Says that an input is on its way, from before its body is read until it is added or refused."""
        with self._adder(standing, group_id).commits.expecting():
            yield

    def add(self, upload: MaskedUpload, group_id: str, group: Group) -> GroupRecord:
        """Adds one input, together with those that come meanwhile.

        Returns:
          The group as it was stored with this input.

        Raises:
          Refused: another was sent before, the stage is over, or its nonce was spent before; UNAVAILABLE: the database
            failed.

        """
        adder = self._adder(upload.standing, group_id)
        return adder.commits.submit(upload, lambda waiting: adder.flush(waiting, group))

    def forget_ended(self) -> None:
        """Drops the sums of all groups that take no inputs any more."""
        with self._lock:
            known = list(self._adders)
        if not known:
            return
        with self._database.read() as connection:
            taking = secure_groups.list_ids_under_way(connection, known, Stage.MASKING)
        with self._lock:
            for group_id in set(known) - taking:
                self._adders.pop(group_id, None)

    def _adder(self, standing: Standing, group_id: str) -> "_Adder":
        with self._lock:
            adder = self._adders.get(group_id)
            if adder is None:
                adder = self._adders[group_id] = _Adder(self._database, standing, group_id)
            return adder


class _Adder:
    """The masked inputs of one group in this process, and their sum. If there were two, both would be right."""

    def __init__(self, database: Database, standing: Standing, group_id: str) -> None:
        self.commits: Commits[MaskedUpload, GroupRecord] = Commits()
        self._database = database
        self._population = standing.record.population
        self._round_id = standing.record.id
        self._key = standing.record.sealing_key or b""
        self._group_id = group_id
        self._sum: PartialSum | None = None
        self._worker_id = ""

    def flush(self, waiting: Sequence[Waiting], group: Group) -> None:
        """Settles or refuses all that wait."""
        try:
            for once_each in _once_each(waiting):
                self._add_all(once_each, group)
        except Exception as error:  # whatever it is, no thread may wait for ever, and none may believe it was added
            log.error("masked_inputs_not_added", exc_info=error)
            self._sum = None
            for entry in waiting:
                if not entry.is_settled:
                    entry.refuse(_unavailable() if isinstance(error, SQLAlchemyError) else error)

    def _add_all(self, waiting: Sequence[Waiting], group: Group) -> None:
        """Adds those that can be added, in as many tries as it takes to know who they are."""
        left = list(waiting)
        while left:
            try:
                record = self._add(left, group)
            except _Repeated as repeated:
                for entry, outcome in repeated.refusals.items():
                    entry.refuse(outcome) if isinstance(outcome, Refused) else entry.settle(outcome)
                left = [entry for entry in left if not entry.is_settled]
            except _KeyChanged as other:
                self._key, self._sum = other.key, None
            else:
                for entry in left:
                    entry.settle(record)
                return

    def _add(self, waiting: Sequence[Waiting], group: Group) -> GroupRecord:
        """Adds all of `waiting` in one transaction; the work that needs no lock is done before."""
        if self._sum is None:
            self._sum, self._worker_id = begin_sum(group), secrets.token_hex(16)
        proposed = _with_all(self._sum, waiting)
        parts = seal_lanes(self._key, proposed, group, self._group_id, self._worker_id)
        with self._database.write() as connection:
            lock_population(connection, self._population)
            self._accept(connection, waiting)
            masked_sums.put(connection, self._group_id, parts)
            record = self._note(connection, waiting)
        self._sum = proposed
        return record

    def _accept(self, connection: Connection, waiting: Sequence[Waiting]) -> None:
        """Checks every input against the group as it is now."""
        record = secure_groups.find_group(connection, self._group_id)
        if record is None:
            raise _Repeated(dict.fromkeys(waiting, ended()))
        key = rounds.get_sealing_key(connection, self._round_id)
        if record.stage is Stage.MASKING and key is not None and key != self._key:
            raise _KeyChanged(key)
        sent = secure_groups.list_sent(connection, [entry.item.standing.assignment.id for entry in waiting])
        refusals: dict[Waiting, Refused | GroupRecord] = {}
        for entry in waiting:
            upload = entry.item
            place = upload.standing.assignment.id, Stage.MASKING.value
            try:
                if sent.get(place) == upload.sha256:  # counted, even if the group has moved on since
                    refusals[entry] = record
                elif place in sent:
                    refusals[entry] = changed()
                elif record.stage is not Stage.MASKING:
                    refusals[entry] = ended()
                else:
                    nonces.spend(connection, upload.standing.caller)
            except Refused as refusal:
                refusals[entry] = refusal
        if refusals:
            raise _Repeated(refusals)

    def _note(self, connection: Connection, waiting: Sequence[Waiting]) -> GroupRecord:
        """Writes who sent its input, and returns the group as it is then."""
        for entry in waiting:
            upload = entry.item
            secure_groups.add_message(
                connection, upload.standing.assignment.id, Stage.MASKING, upload.sha256, content=None
            )
        secure_groups.count_answers(connection, self._group_id, Stage.MASKING, len(waiting))
        rounds.add_bytes(connection, self._round_id, sum(entry.item.payload_bytes for entry in waiting))
        record = secure_groups.find_group(connection, self._group_id)
        if record is None:
            raise RuntimeError("a group was deleted while it was locked")
        return record


def _once_each(waiting: Sequence[Waiting]) -> list[list[Waiting]]:
    """Those that wait, in parts in which no member is twice: who sends again learns what became of the first."""
    parts: list[list[Waiting]] = []
    seen: Counter[int] = Counter()
    for entry in waiting:
        turn = seen[entry.item.place]
        seen[entry.item.place] += 1
        if turn == len(parts):
            parts.append([])
        parts[turn].append(entry)
    return parts


def _with_all(taken: PartialSum, waiting: Sequence[Waiting]) -> PartialSum:
    proposed = PartialSum(taken.lanes.copy(), set(taken.members))
    for entry in waiting:
        np.add(proposed.lanes, entry.item.lanes, out=proposed.lanes)
        proposed.members.add(entry.item.place)
    return proposed


def _unavailable() -> Refused:
    return Refused(
        RefusalKind.UNAVAILABLE, "the service cannot add inputs just now; try again", headers={"Retry-After": "5"}
    )
