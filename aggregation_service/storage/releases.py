"""Releases as stored: never deleted, and changed only in status, share of devices, and decision.

A candidate, which no device has seen, is signed again when it is released.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, select, update

from aggregation_service.storage.tables import releases
from protocol.manifest import SignedManifest

ReleaseStatus = Literal["candidate", "released", "refused", "withdrawn", "reissued"]
"""`candidate`: waits for the gate, no device gets it. `released`: offered. `refused`: by the gate, or superseded.
`withdrawn`: by a rollback. `reissued`: its files are offered by a newer release."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseRecord:
    """A release. `decision` says in a sentence why its status is what it is; None where an operator published it."""

    id: int
    population: str
    model_version: int
    status: ReleaseStatus
    rollout_percent: int
    decision: str | None
    manifest: SignedManifest
    created_at: float


def insert_release(
    connection: Connection,
    population: str,
    *,
    model_version: int,
    status: ReleaseStatus,
    rollout_percent: int,
    manifest: SignedManifest,
    decision: str | None,
    now: float,
) -> int:
    """Stores a release; returns its id, which is larger than that of any before it."""
    row: dict[str, Any] = {
        "population": population,
        "model_version": model_version,
        "status": status,
        "rollout_percent": rollout_percent,
        "decision": decision,
        "manifest": manifest.manifest,
        "signature": manifest.signature,
        "created_at": now,
    }
    inserted: int = connection.execute(releases.insert().values(row).returning(releases.c.id)).scalar_one()
    return inserted


def find_release(connection: Connection, population: str, release_id: int) -> ReleaseRecord | None:
    """A release of a population."""
    row = connection.execute(_of(population).where(releases.c.id == release_id)).one_or_none()
    return None if row is None else _record(row)


def list_releases(
    connection: Connection, population: str, status: ReleaseStatus | None = None, limit: int | None = None
) -> list[ReleaseRecord]:
    """A population's releases, newest first; of one status, or of all."""
    found = _of(population).order_by(releases.c.id.desc()).limit(limit)
    if status is not None:
        found = found.where(releases.c.status == status)
    return [_record(row) for row in connection.execute(found)]


def current_release(connection: Connection, population: str) -> ReleaseRecord | None:
    """The newest release that every device is offered; None if there is none."""
    full = _of(population).where(releases.c.status == "released", releases.c.rollout_percent == 100)
    row = connection.execute(full.order_by(releases.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


def decide_release(connection: Connection, release_id: int, status: ReleaseStatus, decision: str | None) -> None:
    """Gives a release another status, and says why."""
    values = {"status": status, "decision": decision}
    connection.execute(update(releases).where(releases.c.id == release_id).values(values))


def sign_again(connection: Connection, release_id: int, manifest: SignedManifest) -> None:
    """Gives a candidate another manifest."""
    values = {"manifest": manifest.manifest, "signature": manifest.signature}
    is_candidate = (releases.c.id == release_id) & (releases.c.status == "candidate")
    connection.execute(update(releases).where(is_candidate).values(values))


def set_rollout(connection: Connection, release_id: int, percent: int) -> None:
    """Offers a release to so many percent of the devices."""
    connection.execute(update(releases).where(releases.c.id == release_id).values(rollout_percent=percent))


def _of(population: str) -> Select[Any]:
    return select(releases).where(releases.c.population == population)


def _record(row: Row[Any]) -> ReleaseRecord:
    return ReleaseRecord(
        id=row.id,
        population=row.population,
        model_version=row.model_version,
        status=row.status,
        rollout_percent=row.rollout_percent,
        decision=row.decision,
        manifest=SignedManifest(manifest=row.manifest, signature=row.signature),
        created_at=row.created_at,
    )
