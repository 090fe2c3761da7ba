"""Partial sums at rest: what each worker summed of a round, sealed; see `coordination.sealing`."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update

from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import partial_sums


class SealedSum(NamedTuple):
    """One worker's sealed sum, and how many updates it says are in it."""

    worker_id: str
    num_updates: int
    sealed: bytes | bytearray


def put(connection: Connection, round_id: str, part: SealedSum) -> None:
    """Writes a worker's sum in place of the one it wrote before.

    Guarantees:
      `part.sealed`, which is long, is not kept in memory by the connection. (Python's `sqlite3` keeps the parameters of
      a statement until the connection executes that statement again: 11 MB in each connection of a pool.)
    """
    nothing = SealedSum(part.worker_id, 0, b"")
    insert_unless_present(connection, partial_sums, {"round_id": round_id, **nothing._asdict()})
    _update(connection, round_id, part)
    _update(connection, "", nothing)


def list_workers(connection: Connection, round_id: str) -> list[str]:
    """Who holds a sum of this round."""
    of_round = select(partial_sums.c.worker_id).where(partial_sums.c.round_id == round_id)
    return list(connection.scalars(of_round.order_by(partial_sums.c.worker_id)))


def get(connection: Connection, round_id: str, worker_id: str) -> SealedSum:
    """Reads one worker's sum."""
    row = (partial_sums.c.round_id == round_id) & (partial_sums.c.worker_id == worker_id)
    found = connection.execute(select(partial_sums).where(row)).one()
    return SealedSum(found.worker_id, found.num_updates, found.sealed)


def delete_all(connection: Connection, round_id: str) -> None:
    """Deletes a round's sums, which nobody can open any more."""
    connection.execute(delete(partial_sums).where(partial_sums.c.round_id == round_id))


def _update(connection: Connection, round_id: str, part: SealedSum) -> None:
    row = (partial_sums.c.round_id == round_id) & (partial_sums.c.worker_id == part.worker_id)
    values = {"num_updates": part.num_updates, "sealed": part.sealed}
    connection.execute(update(partial_sums).where(row).values(values))
