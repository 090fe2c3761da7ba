"""The end of a group: its sum is unmasked, checked, and stored as one more sealed partial sum of its round.

The work is done outside of any transaction; what it found is stored in one, with which the members count as reported,
all at once, and all from which the sum could be learnt is deleted.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from aggregation_service import metrics
from aggregation_service.coordination.sealing import NotSealed, RoundKey
from aggregation_service.coordination.secure.moving import fail_group
from aggregation_service.coordination.secure.rosters import Rosters, task_of
from aggregation_service.coordination.secure.sealed_lanes import open_lanes
from aggregation_service.logs import log_event
from aggregation_service.rounds.accumulator import TakenSum
from aggregation_service.rounds.groups import Failed, GroupFailure, Stage
from aggregation_service.rounds.state import RoundOver, accept_group
from aggregation_service.storage import books, masked_sums, partial_sums, rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.partial_sums import SealedPart
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.secure_groups import GroupRecord
from protocol.plan import Plan
from protocol.secure_aggregation import unmasking
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.inputs import decode_sum, largest_sum
from protocol.secure_aggregation.packing import packed_bytes
from protocol.secure_aggregation.server import PartialSum
from protocol.secure_aggregation.survivors import from_bitmap

_ROUNDING = 1 + 1e-9  # of the float64 sums that turn integers back into weights


def unmask_group(
    database: Database, record: RoundRecord, group: GroupRecord, key: RoundKey, rosters: Rosters
) -> TakenSum | Failed:
    """Leader: the sum of a group's survivors, in units of weight change, or why there is none.

    Args:
      database: where masked sums and shares are.
      record: the round.
      group: at `UNMASKING`, its stage over.
      key: of the round, to which masked sums are sealed.
      rosters: of all groups.

    Guarantees:
      Memory is for the lanes, one part of a sum, the shares, and the decoded sum.

    """
    with database.read() as connection:
        roster = rosters.find(connection, group.id)
        if roster is None:
            return Failed(GroupFailure.BROKEN, "the group has no roster")
        shares = secure_groups.list_contents(connection, group.id, Stage.UNMASKING)
        try:
            masked = _open(connection, group, roster, key)
        except NotSealed as error:
            return Failed(GroupFailure.BROKEN, str(error))
    sharers, survivors = (
        from_bitmap(bitmap or b"", len(roster.bundles)) for bitmap in (group.sharers, group.survivors)
    )
    if masked.members != survivors:
        return Failed(GroupFailure.BROKEN, f"sums must hold {len(survivors)} inputs, got {len(masked.members)}")
    suspects = set[int]()
    lanes = unmasking.unmask(masked.lanes, roster, sharers, survivors, shares, suspects=suspects)
    if suspects:
        _tell_suspects(database, record, group, suspects)
    if isinstance(lanes, GroupFailed):
        return Failed(GroupFailure.TOO_FEW, lanes.reason)
    plan, count = record.task.plan, len(survivors)
    return _checked(decode_sum(lanes, plan, task_of(record), count), count, plan)


def store_sum(
    connection: Connection, record: RoundRecord, group: GroupRecord, parts: list[SealedPart], now: float
) -> None:
    """Leader: stores the sum of a group's survivors, sealed, in a transaction that locked the population.

    The round may have ended meanwhile, or have got its goal by another group: then this one fails, in the open.
    """
    count = parts[0].num_updates
    try:
        state = accept_group(record.state, count)
    except RoundOver:
        failed = Failed(GroupFailure.ROUND_OVER, "the round has its goal of reports")
        fail_group(connection, record, group.id, failed, now)
        return
    partial_sums.put(connection, record.id, parts)
    _note_reports(connection, replace(record, state=state), group)
    secure_groups.end_group(connection, group.id, Stage.DONE, now)
    metrics.group_ended(record.population, Stage.DONE)
    metrics.reports_accepted(record.population, count, count * _input_bytes(record.task.plan))
    log_event("group_done", round=record.id, group=group.id, reports=count)


def _open(connection: Connection, group: GroupRecord, roster: Group, key: RoundKey) -> PartialSum:
    places = masked_sums.list_parts(connection, group.id)
    parts = (masked_sums.get(connection, group.id, *place) for place in places)
    return open_lanes(key, parts, roster, group.id)


def _tell_suspects(database: Database, record: RoundRecord, group: GroupRecord, suspects: set[int]) -> None:
    """Logs whose shares were found wrong. Nobody is put out for it: who dealt the shares may have made them wrong."""
    with database.read() as connection:
        members = secure_groups.list_assignments(connection, group.id)
    assignments = ",".join(sorted(members[place][0] for place in suspects))
    log_event("group_suspects", round=record.id, group=group.id, assignments=assignments)
    metrics.suspects_found(record.population, len(suspects))


def _input_bytes(plan: Plan) -> int:
    """What a member's masked input takes, without the head of its message."""
    return 0 if plan.secure_aggregation is None else packed_bytes(plan.update_size, plan.secure_aggregation.value_bits)


def _checked(total: npt.NDArray[np.float64], count: int, plan: Plan) -> TakenSum | Failed:
    """What honest members can reach bounds the sum; one boosted update that goes beyond it ends the group.

    An update within the bound of all together cannot be told apart: nobody sees it.
    """
    bound = largest_sum(plan, count) * _ROUNDING
    if np.linalg.norm(total) > bound:  # by how much is not told: the sum may have no noise
        return Failed(GroupFailure.NORM, f"the norm of a sum of {count} must be <= {bound:.6g}")
    return TakenSum(total, count)


def _note_reports(connection: Connection, record: RoundRecord, group: GroupRecord) -> None:
    """Writes what follows from accepted reports: assignments, participations, the round."""
    members = secure_groups.list_assignments(connection, group.id)
    survivors = from_bitmap(group.survivors or b"", group.members)
    rounds.mark_reported(connection, [members[place][0] for place in survivors])
    devices = [members[place][1] for place in survivors]
    if record.task.plan.shared_noise is None:  # else they were counted before the sum was opened: see `booking`
        participations = books.note_reported(connection, record.population, devices)
        record = replace(record, max_participations=max(record.max_participations, participations))
    rounds.save_round(connection, record)
