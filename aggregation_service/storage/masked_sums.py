"""Sums of masked inputs at rest: what each worker added of a group, sealed in parts; see `coordination.secure`."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from aggregation_service.storage.tables import masked_sums


class MaskedPart(NamedTuple):
    """A part of one worker's sum, and whose inputs it says are in it, as a bitmap."""

    worker_id: str
    part: int
    members: bytes
    sealed: bytes | bytearray


def put(connection: Connection, group_id: str, parts: Sequence[MaskedPart]) -> None:
    """Writes a worker's sum in place of the one it wrote before."""
    for part in parts:
        row = (masked_sums.c.group_id == group_id) & (masked_sums.c.worker_id == part.worker_id)
        row &= masked_sums.c.part == part.part
        changed = update(masked_sums).where(row).values(members=part.members, sealed=part.sealed)
        if connection.execute(changed).rowcount == 0:
            connection.execute(masked_sums.insert().values(group_id=group_id, **part._asdict()))


def list_parts(connection: Connection, group_id: str) -> list[tuple[str, int]]:
    """Who holds which parts of this group's sum: worker ids and numbers."""
    columns = (masked_sums.c.worker_id, masked_sums.c.part)
    of_group = select(*columns).where(masked_sums.c.group_id == group_id)
    return [(row.worker_id, row.part) for row in connection.execute(of_group.order_by(*columns))]


def get(connection: Connection, group_id: str, worker_id: str, part: int) -> MaskedPart:
    """Reads one part."""
    row = (masked_sums.c.group_id == group_id) & (masked_sums.c.worker_id == worker_id)
    found = connection.execute(select(masked_sums).where(row & (masked_sums.c.part == part))).one()
    return MaskedPart(found.worker_id, found.part, found.members, found.sealed)
