"""The books: who took part how often, what was released, what was refused."""

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, and_, event, func, select, update

from aggregation_service.logs import log_event
from aggregation_service.privacy.ledger import LedgerEvent, decode_event, encode_event
from aggregation_service.privacy.ledger_chain import GENESIS, LedgerRow, row_hash
from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import ledger, participation, refusals

_LEDGER_LOCK = 0x6B63_6C65_6467_6572
"""The key of PostgreSQL's advisory lock: "kcledger"."""


def note_seen(connection: Connection, population: str, device_id: str, runtime: str, now: float) -> bool:
    """Notes that a device checked in, and by which runtime.

    Returns:
      Whether it was never seen before.

    """
    row = {"population": population, "device_id": device_id, "last_seen_at": now, "reported": 0, "runtime": runtime}
    if insert_unless_present(connection, participation, row):
        return True
    seen = update(participation).where(_device(population, device_id))
    connection.execute(seen.values(last_seen_at=now, runtime=runtime))
    return False


def last_selected_at(connection: Connection, population: str, device_id: str) -> float | None:
    """When a device was last selected, None if never."""
    at: float | None = connection.scalar(select(participation.c.last_selected_at).where(_device(population, device_id)))
    return at


def note_selected(connection: Connection, population: str, device_id: str, now: float) -> None:
    """Notes that a device was selected: its minimum separation begins."""
    device = _device(population, device_id)
    connection.execute(update(participation).where(device).values(last_selected_at=now))


def note_reported(connection: Connection, population: str, device_ids: Collection[str]) -> int:
    """Counts an accepted report of each of these devices; they stay counted even if their round is abandoned later.

    Returns:
      The most participations of any of them, these included.

    """
    of_devices = (participation.c.population == population) & participation.c.device_id.in_(device_ids)
    connection.execute(update(participation).where(of_devices).values(reported=participation.c.reported + 1))
    most: int = connection.execute(select(func.max(participation.c.reported)).where(of_devices)).scalar_one()
    return most


def most_reported(connection: Connection, population: str, device_ids: Collection[str]) -> int:
    """Most reports accepted from any of these devices."""
    of_devices = (participation.c.population == population) & participation.c.device_id.in_(device_ids)
    return connection.scalar(select(func.max(participation.c.reported)).where(of_devices)) or 0


def max_participations(connection: Connection, population: str) -> int:
    """Most reports accepted from any one device."""
    most = select(func.max(participation.c.reported)).where(participation.c.population == population)
    return connection.scalar(most) or 0


def count_devices(connection: Connection, population: str) -> int:
    """Devices that ever checked in."""
    counted = select(func.count()).select_from(participation).where(participation.c.population == population)
    return connection.scalar(counted) or 0


def append_event(connection: Connection, population: str, released: LedgerEvent, now: float) -> None:
    """Appends to the ledger, sealed to its newest row.

    On PostgreSQL whoever else appends waits here until this transaction ends; on SQLite since it began.

    Raises:
      UnknownEvent: the event could not be read again; nothing is written.

    """
    text = encode_event(released)
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LEDGER_LOCK)))
    previous = ledger_head(connection)
    sha256 = row_hash(population, text, float(now), previous)  # as it is read again: 1 and 1.0 have other hashes
    row = {"population": population, "event": text, "recorded_at": float(now)}
    connection.execute(ledger.insert().values(row | {"previous_sha256": previous, "sha256": sha256}))

    @event.listens_for(connection, "commit", once=True)
    def _tell_head(_connection: Connection) -> None:
        log_event("ledger_head", population=population, sha256=sha256)


def ledger_head(connection: Connection) -> str:
    """The hash of the ledger's newest row, which covers all rows of every population; `GENESIS` where there is none."""
    return connection.scalar(select(ledger.c.sha256).order_by(ledger.c.id.desc()).limit(1)) or GENESIS


def ledger_rows(connection: Connection) -> list[LedgerRow]:
    """All rows of the ledger, of every population, oldest first, as `ledger_chain.check_chain` needs them."""
    columns = [ledger.c[name] for name in LedgerRow._fields]
    return [LedgerRow._make(row) for row in connection.execute(select(*columns).order_by(ledger.c.id))]


def list_events(connection: Connection, population: str) -> list[LedgerEvent]:
    """The population's ledger, oldest first.

    Raises:
      UnknownEvent: a row that this version cannot read.

    """
    ordered = select(ledger.c.event).where(ledger.c.population == population).order_by(ledger.c.id)
    return [decode_event(text) for text in connection.scalars(ordered)]


def count_refusals(connection: Connection, counts: Mapping[tuple[str, str], int]) -> None:
    """Adds to the counts of refused requests by population and kind; the population is empty where none is known."""
    for (population, kind), count in sorted(counts.items()):  # always in this order: two writers wait, never for ever
        insert_unless_present(connection, refusals, {"population": population, "kind": kind, "count": 0})
        counter = and_(refusals.c.population == population, refusals.c.kind == kind)
        connection.execute(update(refusals).where(counter).values(count=refusals.c.count + count))


def list_refusals(connection: Connection, population: str) -> dict[str, int]:
    """Refused requests by kind."""
    counted = select(refusals.c.kind, refusals.c.count.label("refused")).where(refusals.c.population == population)
    return {row.kind: row.refused for row in connection.execute(counted.order_by(refusals.c.kind))}


def _device(population: str, device_id: str) -> ColumnElement[bool]:
    return and_(participation.c.population == population, participation.c.device_id == device_id)
