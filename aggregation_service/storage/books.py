"""The books: who took part how often, what was released, what was refused."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, update

from aggregation_service.privacy.ledger import LedgerEvent, decode_event, encode_event
from aggregation_service.storage.tables import ledger, participation, refusals, releases
from protocol.manifest import SignedManifest


def note_seen(connection: Connection, population: str, device_id: str, now: float) -> float | None:
    """Notes that a device checked in, and returns when it was last selected, None if never."""
    device = _device(population, device_id)
    seen = connection.execute(update(participation).where(device).values(last_seen_at=now))
    if seen.rowcount == 0:
        row = {"population": population, "device_id": device_id, "last_seen_at": now, "reported": 0}
        connection.execute(participation.insert().values(row))
        return None
    last_selected_at: float | None = connection.scalar(select(participation.c.last_selected_at).where(device))
    return last_selected_at


def note_selected(connection: Connection, population: str, device_id: str, now: float) -> None:
    """Notes that a device was selected: its minimum separation begins."""
    device = _device(population, device_id)
    connection.execute(update(participation).where(device).values(last_selected_at=now))


def note_reported(connection: Connection, population: str, device_id: str) -> int:
    """Counts a device's accepted report, which stays counted even if its round is abandoned later.

    Returns:
      The device's participations, this one included.

    """
    device = _device(population, device_id)
    connection.execute(update(participation).where(device).values(reported=participation.c.reported + 1))
    participations: int = connection.execute(select(participation.c.reported).where(device)).scalar_one()
    return participations


def max_participations(connection: Connection, population: str) -> int:
    """Most reports accepted from any one device."""
    most = select(func.max(participation.c.reported)).where(participation.c.population == population)
    return connection.scalar(most) or 0


def count_devices(connection: Connection, population: str) -> int:
    """Devices that ever checked in."""
    counted = select(func.count()).select_from(participation).where(participation.c.population == population)
    return connection.scalar(counted) or 0


def append_event(connection: Connection, population: str, event: LedgerEvent, now: float) -> None:
    """Appends to the ledger."""
    row = {"population": population, "event": encode_event(event), "recorded_at": now}
    connection.execute(ledger.insert().values(row))


def list_events(connection: Connection, population: str) -> list[LedgerEvent]:
    """The population's ledger, oldest first.

    Raises:
      UnknownEvent: a row that this version cannot read.

    """
    ordered = select(ledger.c.event).where(ledger.c.population == population).order_by(ledger.c.id)
    return [decode_event(text) for text in connection.scalars(ordered)]


def add_release(
    connection: Connection, population: str, model_version: int, manifest: SignedManifest, now: float
) -> None:
    """Makes a release the population's newest."""
    row: dict[str, Any] = {
        "population": population,
        "model_version": model_version,
        "manifest": manifest.manifest,
        "signature": manifest.signature,
        "created_at": now,
    }
    connection.execute(releases.insert().values(row))


def newest_release(connection: Connection, population: str) -> SignedManifest | None:
    """The population's newest release."""
    newest = select(releases).where(releases.c.population == population).order_by(releases.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else SignedManifest(manifest=row.manifest, signature=row.signature)


def count_refusal(connection: Connection, population: str, kind: str) -> None:
    """Counts a refused request; `population` is empty where none is known."""
    counter = and_(refusals.c.population == population, refusals.c.kind == kind)
    counted = connection.execute(update(refusals).where(counter).values(count=refusals.c.count + 1))
    if counted.rowcount == 0:
        connection.execute(refusals.insert().values(population=population, kind=kind, count=1))


def list_refusals(connection: Connection, population: str) -> dict[str, int]:
    """Refused requests by kind."""
    counted = select(refusals.c.kind, refusals.c.count.label("refused")).where(refusals.c.population == population)
    return {row.kind: row.refused for row in connection.execute(counted.order_by(refusals.c.kind))}


def _device(population: str, device_id: str) -> ColumnElement[bool]:
    return and_(participation.c.population == population, participation.c.device_id == device_id)
