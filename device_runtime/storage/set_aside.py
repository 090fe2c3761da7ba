"""Damaged databases: moved out of the way whole, named by the time, few, and not for ever."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

MAX_SET_ASIDE = 3
"""A disk that damages one file after another must not fill itself with them."""

_COMPANIONS = ("-journal", "-wal", "-shm")

_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # our statements are fixed: if one is wrong, the tables in the file are not ours
}
_UNREADABLE_SECTORS = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # a file size limit or a quota; SQLite knows a full disk by ENOSPC only
}

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether `error` says that the file is no sound database of ours, rather than busy, full or out of reach."""
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return False
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # Python's own: a TEXT that is not UTF-8
    return code & 0xFF in _DAMAGE or code in _UNREADABLE_SECTORS


def is_full(error: Exception) -> bool:
    """Whether an error of SQLite or of the system says that there is no room: a full disk, a quota or a size limit."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return getattr(error, "sqlite_errorcode", None) in _FULL


def set_aside(path: Path, now: float) -> Path:
    """Moves a database to `<name>.damaged-<seconds since 1970>`, and deletes the eldest beyond `MAX_SET_ASIDE`.

    Its journal goes with it: SQLite would otherwise play it back into the database that comes next.

    Raises:
      OSError: the directory cannot be written.

    """
    aside = path.with_name(f"{path.name}.damaged-{int(now)}")
    for ending in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{aside}{ending}")
    for old in files_set_aside(path)[:-MAX_SET_ASIDE]:
        remove_database(old)
    return aside


def files_set_aside(path: Path) -> list[Path]:
    """What was set aside of the database at `path`, oldest first."""
    found = [each for each in path.parent.glob(f"{path.name}.damaged-*") if set_aside_at(each) is not None]
    return sorted(found, key=lambda each: set_aside_at(each) or 0.0)


def set_aside_at(path: Path) -> float | None:
    """When a file was set aside, in seconds since 1970; None for a name that `set_aside` did not give."""
    stamp = path.name.rpartition(".damaged-")[2]
    return float(stamp) if stamp.lstrip("-").isdecimal() else None


def remove_database(path: Path) -> None:
    """Deletes a database and what SQLite keeps beside it."""
    for ending in (*_COMPANIONS, ""):  # the journal first: without its database it would belong to the next one
        Path(f"{path}{ending}").unlink(missing_ok=True)
