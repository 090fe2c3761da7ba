"""What nobody needs any more is deleted: old model versions, files that nothing names, the noise of ended tasks.

A round leaves about 10 MB behind at full size: the exact checkpoint, the served one, and the difference. The leader
calls `prune` every minute, and again at once as long as there is more.
"""

from collections.abc import Callable, Collection

from sqlalchemy import Connection, delete, or_, select

from aggregation_service.logs import log_event
from aggregation_service.served import base_version
from aggregation_service.storage import noise_streams
from aggregation_service.storage.database import Database
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import get_policy, list_populations
from aggregation_service.storage.tables import checkpoints, discovery_levels, files, releases, rounds, tasks
from protocol.manifest import decode_manifest

Fence = Callable[[Connection], None]
"""Raises `Deposed`, and so undoes the transaction, if this process does not lead any more."""

DOWNLOADS_TAKE_S = 3600.0
"""The files of a round stay for so long after its end: a device may be in the middle of them."""

BATCH = 16
"""Versions of a population, and files, that one call deletes at most: uploads wait for the transaction."""

_NAMING = (
    *(tasks.c.plan_sha256, tasks.c.training_graph_sha256, tasks.c.vocabulary_sha256),
    *(checkpoints.c.file_sha256, checkpoints.c.served_sha256, discovery_levels.c.candidates_sha256),
)


def prune(database: Database, fence: Fence, now: float) -> bool:
    """Deletes some of what nobody needs.

    Args:
      database: where checkpoints and files are.
      fence: called in every transaction that writes.
      now: seconds since 1970.

    Guarantees:
      | versions kept                   | for                                                   |
      |---------------------------------|-------------------------------------------------------|
      | the newest `keep_checkpoints`   | training, tail averages, evaluations of recent ones   |
      | those of releases               | the gate, which compares with them                    |
      | those that a running task names | its next round                                        |
      | the bases of all these          | differences against what devices hold                 |

      Files are kept that a version, a task or a release names, an open round, or one ended within `DOWNLOADS_TAKE_S`.
      Whoever stores or finds a file by `put_file` still has it when they commit.

    Returns:
      Whether there was anything to delete, so that there may be more.

    Raises:
      Deposed: another process leads now.
      MalformedMessage: a manifest that cannot be read, so that nobody knows what it names; no file is deleted.

    """
    with database.read() as connection:
        old = {name: versions for name in list_populations(connection) if (versions := old_versions(connection, name))}
        unnamed = unnamed_files(connection, now)
        ended = noise_streams.list_ended(connection)
    for population in ended:
        with database.write() as connection:
            lock_population(connection, population)
            fence(connection)
            noise_streams.forget_ended(connection, population)
    for population in old:
        with database.write() as connection:
            lock_population(connection, population)
            fence(connection)
            _delete_versions(connection, population, old_versions(connection, population)[:BATCH])
    if unnamed:
        with database.write() as connection:
            fence(connection)
            _delete_files(connection, unnamed[:BATCH], now)
    return bool(old or unnamed)


def old_versions(connection: Connection, population: str) -> list[int]:
    """The population's model versions that nobody needs, oldest first."""
    of_population = select(checkpoints.c.model_version).where(checkpoints.c.population == population)
    versions = connection.scalars(of_population.order_by(checkpoints.c.model_version)).all()
    keep = get_policy(connection, population).keep_checkpoints
    if keep is None or len(versions) <= keep:
        return []
    needed = {*versions[-keep:], *_named_versions(connection, population)}
    needed |= {base_version(connection, population, version) for version in needed}
    return [version for version in versions if version not in needed]


def unnamed_files(connection: Connection, now: float) -> list[str]:
    """Files that nothing names, by their hash."""
    return sorted(set(connection.scalars(select(files.c.sha256))) - _named_files(connection, now))


def _named_versions(connection: Connection, population: str) -> set[int]:
    """Of all releases, also refused ones, which may be published yet; and of the evaluation that runs."""
    named = set(connection.scalars(select(releases.c.model_version).where(releases.c.population == population)))
    running = (tasks.c.population == population) & tasks.c.ended_at.is_(None)
    for column in (tasks.c.candidate_version, tasks.c.baseline_version):
        named.update(connection.scalars(select(column).where(running, column.is_not(None))))
    return named


def _named_files(connection: Connection, now: float) -> set[str]:
    named: set[str] = set()
    for column in _NAMING:
        named.update(connection.scalars(select(column).where(column.is_not(None)).distinct()))
    lately = or_(rounds.c.ended_at.is_(None), rounds.c.ended_at > now - DOWNLOADS_TAKE_S)
    for manifests in (select(releases.c.manifest), select(rounds.c.manifest).where(lately)):
        for manifest in connection.scalars(manifests):
            named.update(entry.sha256 for entry in decode_manifest(manifest).files.values())
    return named


def _delete_versions(connection: Connection, population: str, versions: Collection[int]) -> None:
    which = (checkpoints.c.population == population) & checkpoints.c.model_version.in_(versions)
    connection.execute(delete(checkpoints).where(which))
    log_event("versions_pruned", population=population, count=len(versions))


def _delete_files(connection: Connection, unnamed: Collection[str], now: float) -> None:
    """Locks first, and asks then: who named one of them before the lock has committed, and who did not yet is skipped,
    for `put_file` locked it for them. After it `put_file` waits, and finds it gone.
    """
    free = select(files.c.sha256).where(files.c.sha256.in_(unnamed)).with_for_update(skip_locked=True)
    locked = set(connection.scalars(free))
    nobodys = locked - _named_files(connection, now)
    connection.execute(delete(files).where(files.c.sha256.in_(nobodys)))
    log_event("files_pruned", count=len(nobodys))
