"""Backup of a running service into a folder, and a service made from it again.

A backup holds everything that a service is: its database at one moment, its configuration, and every file that this
names, the signing key above all. So it must be kept as secret as the service's own folder. Its manifest is written
last: a folder without one is no backup.

What happened after a backup is not in it. That is harmless for most things, which devices and operators do once more;
but privacy that was spent stays spent. So whoever restores says how many rounds may have closed since, and the ledger
charges them to every device (`privacy.ledger.ReleasesLost`).
"""

import hashlib
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from aggregation_service import audit
from aggregation_service.config import ServiceConfig, load_config, load_signing_key, render_config
from aggregation_service.service import clock_of
from aggregation_service.storage.database import Database, current_revision, known_revisions, newest_revision, upgrade
from aggregation_service.storage.dumps import Progress, dump, dump_name, load
from aggregation_service.storage.moving import move
from aggregation_service.storage.settling import Settled, settle
from protocol.manifest import Sha256Hex, encode_public_key

CONFIG_FILE = "service.toml"
MANIFEST_FILE = "manifest.json"
_DATABASE_FILE = "service.sqlite"
_PUBLIC_KEY_FILE = "public_key.txt"


class BackupError(Exception):
    """A backup that could not be made, or cannot be trusted. The message says why, in one sentence."""


class BackupFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a backup, by its content."""

    sha256: Sha256Hex
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds.

    Attributes:
      created_at: seconds since 1970, by the service's clock, when the backup began.
      revision: of the database's tables.
      database: the name of the dump.
      files: size and SHA-256 of every file but the manifest, by name.

    """

    created_at: float
    revision: str
    database: str
    files: dict[Annotated[str, msgspec.Meta(pattern=r"\A[^/]+\Z")], BackupFile]


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """A restored service.

    Attributes:
      config_path: its configuration.
      created_at: seconds since 1970, when its backup was made; nothing later is known to it.
      abandoned: ids of the rounds that were open then, and are abandoned now.
      charged: populations whose ledger was charged for lost rounds.

    """

    config_path: Path
    created_at: float
    abandoned: tuple[str, ...]
    charged: tuple[str, ...]


def no_progress(_done: int, _total: int) -> None:
    """Tells nobody how far a backup is."""


def backup(
    config: ServiceConfig, folder: Path, *, actor: str = "cli", progress: Progress = no_progress
) -> BackupManifest:
    """Writes a backup while the service runs.

    Args:
      config: the service.
      folder: made, readable by its owner only; must not exist, or be empty.
      actor: whom the audit log names.
      progress: told how many bytes of the database are done, and of how many.

    Guarantees:
      The database is that of one moment. No file is readable by others. A backup that failed has no manifest. The audit
      log tells of it before any key is copied, unless the tables are another version's: those are only read.

    Raises:
      BackupError: `folder` is not empty, or the database has no tables.
      ConfigError: the signing key cannot be used.
      DumpError: the database could not be dumped.

    """
    load_signing_key(config.signing_key_path)  # a backup without its key would be found out too late
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupError(f"{folder} must be empty: a backup is never overwritten")
    created_at, revision = clock_of(config).now(), _revision(config)
    names = _names(config)
    if revision == newest_revision():
        _record(config, folder, actor, created_at)
    for field, name in names.items():
        _write_new(folder / name, getattr(config, field).read_bytes())
    relative: dict[str, Any] = {field: Path(name) for field, name in names.items()}
    _write_new(folder / CONFIG_FILE, render_config(replace(config, **relative)).encode())
    database = dump_name(config.database_url)
    dump(config.database_url, folder / database, progress)
    files = {name: _entry(folder / name) for name in (*names.values(), CONFIG_FILE, database)}
    manifest = BackupManifest(created_at=created_at, revision=revision, database=database, files=files)
    _write_new(folder / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def read_manifest(folder: Path) -> BackupManifest:
    """Reads a backup's manifest and checks every file of it.

    Raises:
      BackupError: no manifest, or a file is missing or not what it was, or a revision that this version does not know.

    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=BackupManifest)
    except OSError:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST_FILE}") from None
    except msgspec.DecodeError as error:
        raise BackupError(f"{folder / MANIFEST_FILE} is damaged: {error}") from None
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or _entry(path) != entry:
            raise BackupError(f"{path} is missing or damaged: its SHA-256 must be {entry.sha256}")
    if not {CONFIG_FILE, manifest.database} <= set(manifest.files):
        raise BackupError(f"{folder / MANIFEST_FILE} names no configuration or no database")
    if manifest.revision not in known_revisions():
        raise BackupError(f"revision {manifest.revision} of the backup is unknown: it was made by a newer version")
    return manifest


def restore(
    source: Path,
    folder: Path,
    *,
    lost_rounds: int,
    database_url: str | None = None,
    actor: str = "cli",
    progress: Progress = no_progress,
) -> Restored:
    """Makes a service from a backup; it is not started.

    Args:
      source: the backup.
      folder: where the service is to be, made readable by its owner only; must not hold a service.
      lost_rounds: how many rounds of any one population may have closed after the backup, >= 0. More than there were
        wastes privacy budget; fewer would hide what was spent.
      database_url: PostgreSQL's, a database without tables; a backup of SQLite moves there, too. None for the one that
        the backup names, or of SQLite for a file in `folder`.
      actor: whom the audit log names.
      progress: told how many bytes of the database are done, and of how many.

    Guarantees:
      Nothing is overwritten. The tables are this version's, and the books are settled as `storage.settling` says: no
      round is open, and lost rounds are charged to every device.

    Raises:
      BackupError: the backup is damaged or of a newer version, `folder` holds a service, or `lost_rounds` < 0.
      ConfigError: its configuration cannot be read.
      DumpError: the database could not be loaded, or is not empty.

    """
    if lost_rounds < 0:
        raise BackupError(f"lost_rounds must be >= 0, got {lost_rounds}")
    manifest = read_manifest(source)
    saved = load_config(source / CONFIG_FILE)
    names = {field: name for field, name in _names(saved).items() if name in manifest.files}
    config = _relocated(saved, {field: folder.absolute() / name for field, name in names.items()}, folder, database_url)
    for name in (CONFIG_FILE, _PUBLIC_KEY_FILE, *names.values()):
        if (folder / name).exists():
            raise BackupError(f"{folder / name} exists already; a service is restored into a folder without one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moves = dump_name(config.database_url) != manifest.database
    (move if moves else load)(source / manifest.database, config.database_url, progress)
    for name in names.values():
        _write_new(folder / name, (source / name).read_bytes())
    public_key = encode_public_key(load_signing_key(config.signing_key_path).public_key())
    _write_new(folder / _PUBLIC_KEY_FILE, f"{public_key}\n".encode())
    settled = _settle(config, lost_rounds, actor)
    config_path = folder.absolute() / CONFIG_FILE
    _write_new(config_path, render_config(config).encode())  # last: without it nothing starts
    return Restored(
        config_path=config_path,
        created_at=manifest.created_at,
        abandoned=settled.abandoned,
        charged=settled.charged,
    )


def _names(config: ServiceConfig) -> dict[str, str]:
    """The name in a backup of each file that the configuration names, by the setting."""
    names: dict[str, str] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path) and value.is_file():
            names[field.name] = value.name if value.name not in names.values() else f"{field.name}-{value.name}"
    return names


def _relocated(saved: ServiceConfig, paths: dict[str, Any], folder: Path, url: str | None) -> ServiceConfig:
    """The backup's configuration, with its files and its database elsewhere."""
    was_sqlite = dump_name(saved.database_url) == dump_name("sqlite://")
    if url is not None and not was_sqlite and dump_name(url) == dump_name("sqlite://"):
        raise BackupError("database_url must be PostgreSQL's, as that which was backed up: there is no way to SQLite")
    if url is None and was_sqlite:
        url = f"sqlite:///{folder.absolute() / _DATABASE_FILE}"
    return replace(saved, **paths, database_url=url or saved.database_url)


def _settle(config: ServiceConfig, lost_rounds: int, actor: str) -> Settled:
    now = clock_of(config).now()
    database = Database(config.database_url)
    try:
        upgrade(database)
        with database.write() as connection:
            settled = settle(connection, lost_rounds, now)
            details = {"lost_rounds": lost_rounds, "abandoned": list(settled.abandoned)}
            audit.record(
                connection, actor=actor, action="service.restored", subject="service", details=details, now=now
            )
    finally:
        database.close()
    return settled


def _record(config: ServiceConfig, folder: Path, actor: str, now: float) -> None:
    database = Database(config.database_url)
    try:
        with database.write() as connection:
            details = {"folder": str(folder.absolute())}
            audit.record(
                connection, actor=actor, action="service.backed_up", subject="service", details=details, now=now
            )
    finally:
        database.close()


def _revision(config: ServiceConfig) -> str:
    database = Database(config.database_url)
    try:
        revision = current_revision(database)
    finally:
        database.close()
    if revision is None:
        raise BackupError("the database has no tables; `keychorus service run` makes them")
    return revision


def _entry(path: Path) -> BackupFile:
    """Size and SHA-256 of a file that need not fit into memory."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BackupFile(sha256=digest, size_bytes=path.stat().st_size)


def _write_new(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read, onto the disk; one that exists is not overwritten."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
