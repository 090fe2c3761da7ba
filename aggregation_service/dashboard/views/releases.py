"""Releases: what devices predict with, how far each is rolled out, and what its training cost in privacy."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.releases.statements import STATEMENT_FILE
from aggregation_service.storage import releases as stored
from aggregation_service.storage.files import find_content
from aggregation_service.storage.releases import ReleaseRecord
from protocol.manifest import FileEntry, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseView:
    """One release.

    Attributes:
      status: as stored, but "superseded" of one that was followed by another for all devices.
      decision: why, in a sentence; None where an operator published it.
      statement: None where it has none, or one that this version cannot read.

    """

    id: int
    model_version: int
    status: str
    rollout_percent: int
    decision: str | None
    created_at: float
    files: dict[str, FileEntry]
    statement: PrivacyStatement | None

    @property
    def is_offered(self) -> bool:
        """Whether devices get it, all or some."""
        return self.status == "released"

    @property
    def is_publishable(self) -> bool:
        """Whether an operator may release it: it waits for the gate, or was refused by it."""
        return self.status in ("candidate", "refused")

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size_bytes for entry in self.files.values())


def list_releases(connection: Connection, population: str, limit: int = 50) -> tuple[ReleaseView, ...]:
    """A population's releases, newest first."""
    current = stored.current_release(connection, population)
    found = stored.list_releases(connection, population, limit=limit)
    return tuple(_view(connection, record, current) for record in found)


def find_release(connection: Connection, population: str, release_id: int) -> ReleaseView | None:
    """One release of a population."""
    record = stored.find_release(connection, population, release_id)
    current = stored.current_release(connection, population)
    return None if record is None else _view(connection, record, current)


def find_statement(connection: Connection, population: str, release_id: int) -> bytes | None:
    """The statement of a release as it was signed, JSON; None where there is no such release, or none in it."""
    record = stored.find_release(connection, population, release_id)
    return None if record is None else _content(connection, _files(record).get(STATEMENT_FILE))


def read_statement(content: bytes | None) -> PrivacyStatement | None:
    """Reads what `find_statement` found; None where there is nothing that this version can read."""
    try:
        return None if content is None else msgspec.json.decode(content, type=PrivacyStatement)
    except msgspec.DecodeError:
        return None


def find_rollback(connection: Connection, population: str) -> ReleaseView | None:
    """The release that a rollback would go back to: the last that every device was offered before the newest one."""
    released = stored.list_releases(connection, population, "released")
    target = next((record for record in released[1:] if record.rollout_percent == 100), None)
    return None if target is None else _view(connection, target, None)


def offered(found: Sequence[ReleaseView]) -> tuple[ReleaseView, ...]:
    """What devices get: the release for all of them, and what is being rolled out, newest first."""
    return tuple(release for release in found if release.is_offered)


def _view(connection: Connection, record: ReleaseRecord, current: ReleaseRecord | None) -> ReleaseView:
    files = _files(record)
    superseded = record.status == "released" and current is not None and record.id < current.id
    return ReleaseView(
        id=record.id,
        model_version=record.model_version,
        status="superseded" if superseded else record.status,
        rollout_percent=record.rollout_percent,
        decision=record.decision,
        created_at=record.created_at,
        files=files,
        statement=read_statement(_content(connection, files.get(STATEMENT_FILE))),
    )


def _files(record: ReleaseRecord) -> dict[str, FileEntry]:
    return msgspec.json.decode(record.manifest.manifest, type=Manifest).files


def _content(connection: Connection, entry: FileEntry | None) -> bytes | None:
    return None if entry is None else find_content(connection, entry.sha256)
