"""Groups of secure aggregation, their members, and what these sent.

Whoever writes here has locked the population (`locks.lock_population`), so that no stage ends while an answer comes.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, select, update

from aggregation_service.rounds.groups import STAGES_UNDER_WAY, Failed, GroupFailure, Stage
from aggregation_service.storage.tables import (
    assignments,
    masked_sums,
    rounds,
    secure_groups,
    secure_members,
    secure_messages,
)

KEYS = "keys"
"""The stage of a bundle of keys, before there is a group."""

_COUNTED = {
    Stage.SHARING: "shared",
    Stage.MASKING: "masked",
    Stage.CONFIRMING: "confirmed",
    Stage.UNMASKING: "unmasked",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRecord:
    """A group as stored.

    Attributes:
      id: 32 hexadecimal digits.
      round_id: of its round.
      stage: where it stands.
      ends_at: seconds since 1970, when its stage ends at the latest.
      members: how many there are.
      awaited: members that may answer at this stage.
      answered: those of them that did.
      sharers: who shared its secrets, as a bitmap; None before that is known, as the two that follow.
      survivors: whose masked inputs are in the sum.
      revealers: of whom shares are asked.

    """

    id: str
    round_id: str
    stage: Stage
    ends_at: float
    members: int
    awaited: int
    answered: int
    sharers: bytes | None = None
    survivors: bytes | None = None
    revealers: bytes | None = None

    @property
    def taking_part(self) -> bytes | None:
        """Who came through all stages before this one, as a bitmap; None: all members."""
        return self.revealers or self.survivors or self.sharers

    def takes_part(self, place: int) -> bool:
        """Whether a member came through all stages before this one."""
        bitmap = self.taking_part
        return bitmap is None or bool(bitmap[place // 8] >> place % 8 & 1)

    def is_due(self, now: float) -> bool:
        """Whether its stage is to end: everybody answered, or its time is over."""
        return self.stage in STAGES_UNDER_WAY and (self.answered >= self.awaited or now > self.ends_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A device that advertised keys. `group_id` and `place`, its index in the roster, are None while it waits."""

    assignment_id: str
    group_id: str | None
    place: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathering:
    """Devices of a round that wait for a group: how many, and since when the first; how many ever advertised keys."""

    waiting: int
    since: float
    advertised: int


def add_member(connection: Connection, round_id: str, assignment_id: str, now: float) -> None:
    """Adds a device that waits for a group; its bundle is its message of stage `KEYS`."""
    row = {"assignment_id": assignment_id, "round_id": round_id, "advertised_at": now}
    connection.execute(secure_members.insert().values(row))


def find_member(connection: Connection, assignment_id: str) -> Member | None:
    """A device that advertised keys."""
    found = select(secure_members).where(secure_members.c.assignment_id == assignment_id)
    row = connection.execute(found).one_or_none()
    return None if row is None else Member(assignment_id=row.assignment_id, group_id=row.group_id, place=row.place)


def gathering(connection: Connection, round_id: str) -> Gathering:
    """How many devices of a round wait for a group."""
    of_round = secure_members.c.round_id == round_id
    waiting = select(func.count(), func.min(secure_members.c.advertised_at))
    count, since = connection.execute(waiting.where(of_round, secure_members.c.group_id.is_(None))).one()
    advertised = connection.scalar(select(func.count()).select_from(secure_members).where(of_round))
    return Gathering(waiting=count, since=since or 0.0, advertised=advertised or 0)


def list_waiting(connection: Connection, round_id: str) -> list[tuple[str, bytes]]:
    """Assignment and bundle of each device that waits for a group."""
    waiting = (secure_members.c.round_id == round_id) & secure_members.c.group_id.is_(None)
    rows = connection.execute(_contents(KEYS, secure_members.c.assignment_id).where(waiting))
    return [(row.assignment_id, row.content) for row in rows]


def drop_members(connection: Connection, assignment_ids: Collection[str]) -> None:
    """Deletes devices that wait for a group, with their keys."""
    connection.execute(delete(secure_messages).where(secure_messages.c.assignment_id.in_(assignment_ids)))
    connection.execute(delete(secure_members).where(secure_members.c.assignment_id.in_(assignment_ids)))


def add_group(
    connection: Connection, record: GroupRecord, content: bytes, assignment_ids: Sequence[str], now: float
) -> None:
    """Stores a new group of these waiting members, in the order of its roster."""
    row = {**_row(record), "members": len(assignment_ids), "content": content, "formed_at": now, "shared": 0}
    connection.execute(secure_groups.insert().values(row))
    for place, assignment_id in enumerate(assignment_ids):
        member = secure_members.c.assignment_id == assignment_id
        connection.execute(update(secure_members).where(member).values(group_id=record.id, place=place))


def find_group(connection: Connection, group_id: str) -> GroupRecord | None:
    """A group by its id."""
    row = connection.execute(_groups().where(secure_groups.c.id == group_id)).one_or_none()
    return None if row is None else _record(row)


def list_under_way(connection: Connection, round_id: str) -> list[GroupRecord]:
    """A round's groups that have not ended, in the order in which they were formed."""
    rows = connection.execute(_groups().where(_under_way(round_id)).order_by(secure_groups.c.formed_at))
    return [_record(row) for row in rows]


def list_ids_under_way(connection: Connection, group_ids: Collection[str], stage: Stage) -> set[str]:
    """Which of these groups are at `stage`."""
    at_stage = secure_groups.c.id.in_(group_ids) & (secure_groups.c.stage == stage)
    return set(connection.scalars(select(secure_groups.c.id).where(at_stage)))


def count_groups(connection: Connection, population: str) -> dict[str, int]:
    """How many of a population's groups are `under_way`, are `done`, or failed for each `GroupFailure`."""
    columns = (secure_groups.c.stage, secure_groups.c.failed_because)
    of_population = select(*columns, func.count().label("groups")).join(rounds).where(rounds.c.population == population)
    counts: Counter[str] = Counter()
    for row in connection.execute(of_population.group_by(*columns).order_by(*columns)):
        counts["under_way" if row.stage in STAGES_UNDER_WAY else row.failed_because or row.stage] += row.groups
    return dict(counts)


def get_content(connection: Connection, group_id: str) -> bytes | None:
    """The encoded `protocol.secure_aggregation.group.Group`; None once the group has ended."""
    content: bytes | None = connection.scalar(select(secure_groups.c.content).where(secure_groups.c.id == group_id))
    return content


def save_group(connection: Connection, record: GroupRecord) -> None:
    """Writes a group that came to another stage, at which nobody has answered yet."""
    values = {**_row(record), _COUNTED[record.stage]: 0}
    connection.execute(update(secure_groups).where(secure_groups.c.id == record.id).values(values))


def add_message(connection: Connection, assignment_id: str, stage: str, sha256: bytes, content: bytes | None) -> None:
    """Stores what a member sent at a stage."""
    row = {"assignment_id": assignment_id, "stage": stage, "sha256": sha256, "content": content}
    connection.execute(secure_messages.insert().values(row))


def count_answers(connection: Connection, group_id: str, stage: Stage, count: int) -> None:
    """Counts `count` answers more of a group's stage."""
    counted = secure_groups.c[_COUNTED[stage]]
    values = {"answered": secure_groups.c.answered + count, counted: counted + count}
    connection.execute(update(secure_groups).where(secure_groups.c.id == group_id).values(values))


def list_sent(connection: Connection, assignment_ids: Collection[str]) -> dict[tuple[str, str], bytes]:
    """SHA-256 of each message of these members, by assignment and stage."""
    sent = select(secure_messages.c.assignment_id, secure_messages.c.stage, secure_messages.c.sha256)
    rows = connection.execute(sent.where(secure_messages.c.assignment_id.in_(assignment_ids)))
    return {(row.assignment_id, row.stage): row.sha256 for row in rows}


def list_senders(connection: Connection, group_id: str, stage: Stage) -> frozenset[int]:
    """Places of the members that answered at a stage."""
    sent = select(secure_members.c.place).join(secure_messages)
    return frozenset(connection.scalars(sent.where(_at(group_id, stage))))


def list_contents(
    connection: Connection, group_id: str, stage: Stage, places: Collection[int] | None = None
) -> dict[int, bytes]:
    """What was stored of the answers at a stage, by place; of these places, or of all."""
    sent = _contents(stage, secure_members.c.place).where(secure_members.c.group_id == group_id)
    if places is not None:
        sent = sent.where(secure_members.c.place.in_(places))
    return {row.place: row.content for row in connection.execute(sent)}


def list_assignments(connection: Connection, group_id: str) -> dict[int, tuple[str, str]]:
    """Assignment and device of each member, by place."""
    of_group = select(secure_members.c.place, assignments.c.id, assignments.c.device_id).join(assignments)
    rows = connection.execute(of_group.where(secure_members.c.group_id == group_id))
    return {row.place: (row.id, row.device_id) for row in rows}


def end_group(
    connection: Connection,
    group_id: str,
    stage: Stage,
    now: float,
    failed: Failed | None = None,
) -> None:
    """Ends a group as DONE or FAILED, and deletes all from which its sum could be learnt."""
    values = {
        "stage": stage,
        "ended_at": now,
        "failed_because": None if failed is None else failed.because,
        "detail": None if failed is None else failed.detail,
        "content": None,
        **dict.fromkeys(("sharers", "survivors", "revealers")),
    }
    connection.execute(update(secure_groups).where(secure_groups.c.id == group_id).values(values))
    connection.execute(delete(masked_sums).where(masked_sums.c.group_id == group_id))
    _forget_messages(connection, secure_members.c.group_id == group_id)


def end_all(connection: Connection, round_id: str, because: GroupFailure, now: float) -> None:
    """Ends a round's groups that are under way, and forgets what all its devices sent."""
    for group_id in connection.scalars(select(secure_groups.c.id).where(_under_way(round_id))).all():
        end_group(connection, group_id, Stage.FAILED, now, Failed(because, "the round has ended"))
    _forget_messages(connection, secure_members.c.round_id == round_id)


def _forget_messages(connection: Connection, members: ColumnElement[bool]) -> None:
    theirs = secure_messages.c.assignment_id.in_(select(secure_members.c.assignment_id).where(members))
    connection.execute(delete(secure_messages).where(theirs, secure_messages.c.stage != Stage.UNMASKING))
    connection.execute(update(secure_messages).where(theirs).values(content=None))


def _contents(stage: str, column: ColumnElement[Any]) -> Select[Any]:
    joined = select(column, secure_messages.c.content).select_from(secure_members).join(secure_messages)
    return joined.where(secure_messages.c.stage == stage)


def _at(group_id: str, stage: Stage) -> ColumnElement[bool]:
    return (secure_members.c.group_id == group_id) & (secure_messages.c.stage == stage)


def _under_way(round_id: str) -> ColumnElement[bool]:
    return (secure_groups.c.round_id == round_id) & secure_groups.c.stage.in_(STAGES_UNDER_WAY)


def _groups() -> Select[Any]:
    """All that is read at every request, without the roster."""
    return select(*(column for column in secure_groups.c if column.name != "content"))


def _row(record: GroupRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "round_id": record.round_id,
        "stage": record.stage,
        "ends_at": record.ends_at,
        "sharers": record.sharers,
        "survivors": record.survivors,
        "revealers": record.revealers,
        "awaited": record.awaited,
        "answered": record.answered,
    }


def _record(row: Row[Any]) -> GroupRecord:
    return GroupRecord(
        id=row.id,
        round_id=row.round_id,
        stage=Stage(row.stage),
        ends_at=row.ends_at,
        members=row.members,
        awaited=row.awaited,
        answered=row.answered,
        sharers=row.sharers,
        survivors=row.survivors,
        revealers=row.revealers,
    )
