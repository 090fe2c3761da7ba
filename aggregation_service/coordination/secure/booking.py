"""Sums whose noise the devices add are booked before they are opened: it is the service that they are released to.

A group's sum is known to the service as soon as members have sent what opens it, whatever becomes of the round then.
So they are asked for that only once the ledger has the sum, and their participations are counted, in one transaction.
Where the service adds the noise nothing is booked here: the group's sum is not released as it is.
"""

from dataclasses import replace

from sqlalchemy import Connection

from aggregation_service.coordination.budget import any_exceeded, limits_of
from aggregation_service.coordination.shares import shares_event
from aggregation_service.privacy.ledger import DistributedSumReleased
from aggregation_service.storage import books, rounds, secure_groups
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.secure_groups import GroupRecord
from protocol.distributed_noise import SharedNoise
from protocol.secure_aggregation.survivors import from_bitmap


def book_sum(connection: Connection, record: RoundRecord, group: GroupRecord, *, delta: float, now: float) -> bool:
    """Books a group's sum, in the transaction that moves the group to `UNMASKING`.

    Args:
      connection: a transaction that locked the population.
      record: the round.
      group: its survivors are known, and none of them was asked to open anything.
      delta: in (0, 1), at which the policy's epsilon is told.
      now: seconds since 1970.

    Returns:
      False, and nothing is booked, if the sum would cost more than the budget: then it must not be opened.

    Raises:
      ValueError: fewer survivors than honest ones are counted on.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    shared, current = record.task.plan.shared_noise, rounds.find_round(connection, record.id)
    if shared is None or current is None:
        return True
    devices = _devices(connection, group)
    participations = 1 + books.most_reported(connection, record.population, devices)
    most = max(current.max_participations, participations)
    event = _event(shared, current, len(devices), most)
    limits = limits_of(connection, record.task, delta)
    if limits and any_exceeded(limits, [*books.list_events(connection, record.population), event]):
        return False
    books.note_reported(connection, record.population, devices)
    rounds.save_round(connection, replace(current, max_participations=most))
    books.append_event(connection, record.population, event, now)
    return True


def _devices(connection: Connection, group: GroupRecord) -> list[str]:
    """Whose updates are in the sum."""
    members = secure_groups.list_assignments(connection, group.id)
    return [members[place][1] for place in from_bitmap(group.survivors or b"", group.members)]


def _event(shared: SharedNoise, record: RoundRecord, num_reports: int, participations: int) -> DistributedSumReleased:
    return shares_event(
        shared,
        round_id=record.id,
        model_version=record.model_version,
        num_reports=num_reports,
        max_participations=participations,
    )
