"""Enrolled devices and their public keys: functions on the table."""

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import devices


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One enrolled device.

    Attributes:
      device_id: 32 hexadecimal digits.
      public_key: verifies its requests.
      enrolled_by: `open`, `token:<number>` or `attestation`.
      enrolled_at: seconds since 1970.
      revoked_at: seconds since 1970; None while its requests are served.

    """

    device_id: str
    public_key: Ed25519PublicKey
    enrolled_by: str
    enrolled_at: float
    revoked_at: float | None

    @property
    def revoked(self) -> bool:
        """Whether its requests are refused."""
        return self.revoked_at is not None


def find(connection: Connection, population: str, device_id: str) -> Device | None:
    """The device of this id in `population`, revoked ones included."""
    row = connection.execute(select(devices).where(_is(population, device_id))).one_or_none()
    return None if row is None else _device(row)


def find_by_key(connection: Connection, population: str, key: Ed25519PublicKey) -> Device | None:
    """A device of this key in `population`, under whatever id; a revoked one before others."""
    of_key = select(devices).where(devices.c.population == population, devices.c.public_key == raw_key(key))
    row = connection.execute(of_key.order_by(devices.c.revoked_at.is_(None)).limit(1)).one_or_none()
    return None if row is None else _device(row)


def add(
    connection: Connection, population: str, device_id: str, key: Ed25519PublicKey, *, enrolled_by: str, now: float
) -> bool:
    """Enrols a device.

    Returns:
      False if there is a device of this id already; nothing has changed then.

    """
    row = {
        "population": population,
        "device_id": device_id,
        "public_key": raw_key(key),
        "enrolled_by": enrolled_by,
        "enrolled_at": now,
    }
    return insert_unless_present(connection, devices, row)


def revoke(connection: Connection, population: str, device_id: str, now: float) -> bool:
    """Refuses a device's requests from now on, for good: its id and key cannot be enrolled again.

    Returns:
      False if there is no such device, or it was revoked before.

    """
    revoked = update(devices).where(_is(population, device_id), devices.c.revoked_at.is_(None)).values(revoked_at=now)
    return connection.execute(revoked).rowcount == 1


def count_by_state(connection: Connection, population: str) -> dict[str, int]:
    """How many devices are `enrolled` and how many `revoked`."""
    counted = select(func.count(), func.count(devices.c.revoked_at)).where(devices.c.population == population)
    total, revoked = connection.execute(counted).one()
    return {"enrolled": total - revoked, "revoked": revoked}


def list_ids(connection: Connection, population: str) -> list[tuple[str, bool]]:
    """Ids of all devices, in the order of their enrolment, and whether each was revoked."""
    ordered = select(devices.c.device_id, devices.c.revoked_at).where(devices.c.population == population)
    rows = connection.execute(ordered.order_by(devices.c.enrolled_at, devices.c.device_id))
    return [(row.device_id, row.revoked_at is not None) for row in rows]


def raw_key(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        public_key=Ed25519PublicKey.from_public_bytes(row.public_key),
        enrolled_by=row.enrolled_by,
        enrolled_at=row.enrolled_at,
        revoked_at=row.revoked_at,
    )


def _is(population: str, device_id: str) -> ColumnElement[bool]:
    return and_(devices.c.population == population, devices.c.device_id == device_id)
