"""Partial sums at rest: what each worker summed of a round, sealed in parts; see `coordination.sealed_sums`."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update

from aggregation_service.storage.tables import partial_sums


class SealedPart(NamedTuple):
    """A part of one worker's sum, and how many updates it says are in it."""

    worker_id: str
    part: int
    num_updates: int
    sealed: bytes | bytearray


def put(connection: Connection, round_id: str, parts: Sequence[SealedPart]) -> None:
    """Writes a worker's sum in place of the one it wrote before."""
    for part in parts:
        row = (partial_sums.c.round_id == round_id) & (partial_sums.c.worker_id == part.worker_id)
        row &= partial_sums.c.part == part.part
        changed = update(partial_sums).where(row).values(num_updates=part.num_updates, sealed=part.sealed)
        if connection.execute(changed).rowcount == 0:
            connection.execute(partial_sums.insert().values(round_id=round_id, **part._asdict()))


def list_parts(connection: Connection, round_id: str) -> list[tuple[str, int]]:
    """Who holds which parts of this round's sum: worker ids and numbers."""
    columns = (partial_sums.c.worker_id, partial_sums.c.part)
    of_round = select(*columns).where(partial_sums.c.round_id == round_id)
    return [(row.worker_id, row.part) for row in connection.execute(of_round.order_by(*columns))]


def get(connection: Connection, round_id: str, worker_id: str, part: int) -> SealedPart:
    """Reads one part."""
    row = (partial_sums.c.round_id == round_id) & (partial_sums.c.worker_id == worker_id)
    found = connection.execute(select(partial_sums).where(row & (partial_sums.c.part == part))).one()
    return SealedPart(found.worker_id, found.part, found.num_updates, found.sealed)


def delete_all(connection: Connection, round_id: str) -> None:
    """Deletes a round's sums, which nobody can open any more."""
    connection.execute(delete(partial_sums).where(partial_sums.c.round_id == round_id))
