"""Sums of masked inputs as they lie in the database: sealed in parts, as `coordination.sealed_sums` are.

A group's shares lie beside its masked sum, and would open it: whoever reads the database gets neither the sum of all
updates nor that of a group, since the key that opens these parts is in the leader's memory only.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from aggregation_service.coordination.sealing import NotSealed, RoundKey, seal
from aggregation_service.storage.masked_sums import MaskedPart
from protocol.lanes import LaneArray
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.server import PartialSum, begin_sum
from protocol.secure_aggregation.survivors import from_bitmap, to_bitmap

PART_BYTES = 1 << 20
"""One row of a whole vector would be in memory four times while a driver and a database pass it on."""


def seal_lanes(key: bytes, taken: PartialSum, group: Group, group_id: str, worker_id: str) -> list[MaskedPart]:
    """Worker: seals what it added to the round's public key, 32 bytes."""
    members = to_bitmap(taken.members, len(group.bundles))
    parts = []
    for number, part in enumerate(_split(taken.lanes)):
        context = _context(group_id, worker_id, number, members)
        parts.append(MaskedPart(worker_id, number, members, seal(key, part.data, context)))
    return parts


def open_lanes(key: RoundKey, parts: Iterable[MaskedPart], group: Group, group_id: str) -> PartialSum:
    """Leader: adds up what all workers sealed, one part after the other, in memory for one.

    Args:
      key: the round's.
      parts: of all workers; those of one after another.
      group: the group.
      group_id: its id.

    Raises:
      NotSealed: a part is damaged, of another place or flush, missing, or there twice; or an input is in two sums.

    """
    total = begin_sum(group)
    seen: Counter[tuple[str, bytes]] = Counter()  # by worker and members: how many parts
    for part in parts:
        _open_into(total.lanes, key, part, group_id)
        seen[part.worker_id, part.members] += 1
    expected = len(_split(total.lanes))
    if any(number != expected for number in seen.values()) or len({worker for worker, _ in seen}) != len(seen):
        raise NotSealed(f"each worker's sum must have {expected} parts of one flush")
    for _, bitmap in seen:
        members = from_bitmap(bitmap, len(group.bundles))
        if members & total.members:
            raise NotSealed("each member's input must be in one worker's sum")
        total.members |= members
    return total


def _split(lanes: LaneArray) -> list[LaneArray]:
    step = PART_BYTES // lanes.itemsize
    return [lanes[start : start + step] for start in range(0, lanes.size, step)]


def _open_into(total: LaneArray, key: RoundKey, part: MaskedPart, group_id: str) -> None:
    opened = key.open(part.sealed, _context(group_id, part.worker_id, part.part, part.members))
    place = _split(total)[part.part]  # a part that was sealed for this group has a place in it
    np.add(place, np.frombuffer(opened, place.dtype), out=place)


def _context(group_id: str, worker_id: str, part: int, members: bytes) -> bytes:
    """Binds a part to its place: none can be moved, counted twice, or said to hold other inputs than it does."""
    return f"masked/{group_id}/{worker_id}/{part}/{members.hex()}".encode()
