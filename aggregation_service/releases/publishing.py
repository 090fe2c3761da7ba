"""The making of releases: signed sets of files, each later than all before it, and the way back to an earlier one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.releases.statements import STATEMENT_FILE, put_statement
from aggregation_service.storage import releases
from aggregation_service.storage.files import put_file
from aggregation_service.storage.releases import ReleaseRecord, ReleaseStatus
from protocol.manifest import FileEntry, Manifest, decode_manifest, sign_manifest


class NothingToGoBackTo(Exception):
    """A rollback without an earlier release that every device was offered, or to one that cannot be gone back to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """What signs releases: the service's key, and the delta at which their privacy statements tell epsilon."""

    key: Ed25519PrivateKey
    delta: float


class Published(NamedTuple):
    """A release that was made."""

    release_id: int
    manifest: Manifest


class RolledBack(NamedTuple):
    """A rollback that was made: the new release, the one it goes back to, and those that were withdrawn."""

    release_id: int
    manifest: Manifest
    target_id: int
    withdrawn_ids: tuple[int, ...]


def make_release(
    connection: Connection,
    population: str,
    *,
    files: Mapping[str, bytes],
    model_version: int,
    status: ReleaseStatus,
    rollout_percent: int,
    signer: Signer,
    now: float,
) -> Published:
    """Stores and signs a release of `files`, and of the privacy statement as it is now."""
    entries = {name: put_file(connection, content) for name, content in files.items()}
    return _sign(
        connection,
        population,
        files=entries,
        model_version=model_version,
        status=status,
        rollout_percent=rollout_percent,
        decision=None,
        is_rollback=False,
        signer=signer,
        now=now,
    )


def release_candidate(
    connection: Connection, candidate: ReleaseRecord, *, decision: str, signer: Signer, now: float
) -> Manifest:
    """Releases a candidate that the gate let through: no device has its manifest yet, so that it is signed anew.

    Guarantees:
      The statement in it is of everything booked until now, so that it has the evaluation which decided.
    """
    manifest = _make_manifest(
        connection,
        candidate.population,
        files=decode_manifest(candidate.manifest.manifest).files,
        model_version=candidate.model_version,
        is_rollback=False,
        signer=signer,
        now=now,
    )
    releases.sign_again(connection, candidate.id, sign_manifest(manifest, signer.key))
    releases.decide_release(connection, candidate.id, "released", decision)
    return manifest


def publish_candidate(
    connection: Connection, candidate: ReleaseRecord, *, decision: str, signer: Signer, now: float
) -> Published:
    """Releases what a candidate would have been, signed anew, so that it is later than all others."""
    published = _sign(
        connection,
        candidate.population,
        files=decode_manifest(candidate.manifest.manifest).files,
        model_version=candidate.model_version,
        status="released",
        rollout_percent=candidate.rollout_percent,
        decision=decision,
        is_rollback=False,
        signer=signer,
        now=now,
    )
    releases.decide_release(connection, candidate.id, "reissued", f"published as release {published.release_id}")
    return published


def roll_back(connection: Connection, population: str, *, to: int | None, signer: Signer, now: float) -> RolledBack:
    """Withdraws the newest releases and offers an earlier one again, to everybody.

    Devices refuse whatever was signed before the release that they hold, so that nobody can send them an old one again.
    That is why the earlier manifest is not offered as it was: its files go out in a new manifest that says that it is a
    rollback, and is later than all. Its privacy statement is of now, too: what was spent since the earlier release was
    spent, whatever devices predict with.

    Args:
      connection: a transaction that has locked the population.
      population: an existing one.
      to: the release to go back to; None for the last that every device was offered before the newest one.
      signer: the service's.
      now: seconds since 1970.

    Raises:
      NothingToGoBackTo: there is no such release, or it is the newest, or was withdrawn or never released.

    """
    newest, target = _newest_and_target(connection, population, to)
    withdrawn = [
        release.id
        for release in releases.list_releases(connection, population, "released")
        if target.id < release.id <= newest.id
    ]
    made = _sign(
        connection,
        population,
        files=decode_manifest(target.manifest.manifest).files,
        model_version=target.model_version,
        status="released",
        rollout_percent=100,
        decision=f"rollback to release {target.id}",
        is_rollback=True,
        signer=signer,
        now=now,
    )
    for release_id in withdrawn:
        releases.decide_release(connection, release_id, "withdrawn", f"withdrawn by release {made.release_id}")
    releases.decide_release(connection, target.id, "reissued", f"offered again as release {made.release_id}")
    return RolledBack(made.release_id, made.manifest, target.id, tuple(withdrawn))


def _newest_and_target(connection: Connection, population: str, to: int | None) -> tuple[ReleaseRecord, ReleaseRecord]:
    released = releases.list_releases(connection, population, "released")
    for target in released[1:]:
        if target.id == to or (to is None and target.rollout_percent == 100):
            return released[0], target
    which = "every device was offered" if to is None else f"is number {to}"
    raise NothingToGoBackTo(f"going back needs an earlier release of {population} that {which}, got none")


def _sign(
    connection: Connection,
    population: str,
    *,
    files: dict[str, FileEntry],
    model_version: int,
    status: ReleaseStatus,
    rollout_percent: int,
    decision: str | None,
    is_rollback: bool,
    signer: Signer,
    now: float,
) -> Published:
    manifest = _make_manifest(
        connection,
        population,
        files=files,
        model_version=model_version,
        is_rollback=is_rollback,
        signer=signer,
        now=now,
    )
    release_id = releases.insert_release(
        connection,
        population,
        model_version=model_version,
        status=status,
        rollout_percent=rollout_percent,
        manifest=sign_manifest(manifest, signer.key),
        decision=decision,
        now=now,
    )
    return Published(release_id, manifest)


def _make_manifest(
    connection: Connection,
    population: str,
    *,
    files: Mapping[str, FileEntry],
    model_version: int,
    is_rollback: bool,
    signer: Signer,
    now: float,
) -> Manifest:
    """What is to be signed. Whatever statement was in `files`, the one of now takes its place."""
    statement = put_statement(connection, population, signer.delta)
    return Manifest(
        purpose="release",
        population=population,
        model_version=model_version,
        created_at=_later_than_all(connection, population, now),
        files={**files, STATEMENT_FILE: statement},
        is_rollback=True if is_rollback else msgspec.UNSET,
    )


def _later_than_all(connection: Connection, population: str, now: float) -> int:
    """The second that a manifest is signed in, or later: after all before it, even if the clock went back."""
    newest = releases.list_releases(connection, population, limit=1)
    earliest = decode_manifest(newest[0].manifest.manifest).created_at + 1 if newest else 0
    return max(int(now), earliest)
