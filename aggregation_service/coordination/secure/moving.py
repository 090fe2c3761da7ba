"""Stages of a group end: everybody answered, or who did not has dropped out. Only the leader ends them.

| at the end of | the group knows | which must be                                        |
|---------------|-----------------|------------------------------------------------------|
| `sharing`     | its sharers     | enough, each with a threshold of neighbours that are |
| `masking`     | its survivors   | the same, of those whose inputs are stored           |
| `confirming`  | its revealers   | a threshold around each survivor; its sum is booked  |
| `unmasking`   | its sum         | unmasked: see `unmasking`                            |
"""

from dataclasses import replace

from sqlalchemy import Connection

from aggregation_service import metrics
from aggregation_service.coordination.secure.booking import book_sum
from aggregation_service.coordination.secure.rosters import Rosters
from aggregation_service.logs import log_event
from aggregation_service.rounds.groups import Failed, GroupFailure, Stage
from aggregation_service.storage import secure_groups
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.secure_groups import GroupRecord
from protocol.secure_aggregation import server
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.survivors import from_bitmap, to_bitmap


def move_group(
    connection: Connection, record: RoundRecord, group: GroupRecord, rosters: Rosters, *, delta: float, now: float
) -> None:
    """Ends the stage of a group that is due, in a transaction that locked the population; not that of unmasking.

    A group that came under its threshold fails in the open, and so does one whose sum the budget does not allow.

    Args:
      connection: the transaction.
      record: the round.
      group: whose stage is over.
      rosters: of all groups.
      delta: in (0, 1), at which the policy's epsilon is told.
      now: seconds since 1970.

    """
    roster = rosters.find(connection, group.id)
    if roster is None:
        fail_group(connection, record, group.id, Failed(GroupFailure.BROKEN, "the group has no roster"), now)
        return
    going_on = _going_on(connection, group, roster)
    if isinstance(going_on, GroupFailed):
        fail_group(connection, record, group.id, Failed(GroupFailure.TOO_FEW, going_on.reason), now)
        return
    ends_at = now + record.task.parameters.stage_timeout_s
    bitmap = to_bitmap(going_on, len(roster.bundles))
    moved = replace(_next(group, bitmap), ends_at=ends_at, awaited=len(going_on), answered=0)
    if moved.stage is Stage.UNMASKING and not book_sum(connection, record, moved, delta=delta, now=now):
        failed = Failed(GroupFailure.BUDGET_SPENT, "the privacy budget does not allow the group's sum")
        fail_group(connection, record, group.id, failed, now)
        return
    secure_groups.save_group(connection, moved)
    log_event("group_moved", round=record.id, group=group.id, stage=moved.stage, members=len(going_on))


def fail_group(connection: Connection, record: RoundRecord, group_id: str, failed: Failed, now: float) -> None:
    """Ends a group without a sum, in the open."""
    secure_groups.end_group(connection, group_id, Stage.FAILED, now, failed)
    metrics.group_ended(record.population, failed.because)
    log_event("group_failed", round=record.id, group=group_id, because=failed.because, detail=failed.detail)


def _going_on(connection: Connection, group: GroupRecord, roster: Group) -> frozenset[int] | GroupFailed:
    """Who goes on of those who answered."""
    answered = secure_groups.list_senders(connection, group.id, group.stage)
    if group.stage is Stage.SHARING:
        return server.route_shares(roster, answered)
    if group.stage is Stage.MASKING:
        return server.survivors_of(roster, answered)
    survivors = from_bitmap(group.survivors or b"", len(roster.bundles))
    return server.revealers_of(roster, survivors, answered)


def _next(group: GroupRecord, bitmap: bytes) -> GroupRecord:
    if group.stage is Stage.SHARING:
        return replace(group, stage=Stage.MASKING, sharers=bitmap)
    if group.stage is Stage.MASKING:
        return replace(group, stage=Stage.CONFIRMING, survivors=bitmap)
    return replace(group, stage=Stage.UNMASKING, revealers=bitmap)
