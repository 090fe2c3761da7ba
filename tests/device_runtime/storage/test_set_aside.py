import errno
import sqlite3

import pytest

from device_runtime.storage.set_aside import MAX_SET_ASIDE, files_set_aside, is_damage, is_full, set_aside, set_aside_at


def sqlite_error(kind, code):
    error = kind("words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "damaged", "full"),
    [
        (sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT), True, False),
        (sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT_INDEX), True, False),
        (sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_NOTADB), True, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR), True, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_READ), True, False),
        (sqlite3.OperationalError("Could not decode to UTF-8 column"), True, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY), False, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_CANTOPEN), False, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_READONLY), False, False),
        (sqlite_error(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_NOTNULL), False, False),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), False, False),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_FULL), False, True),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_IOERR_WRITE), False, True),
        (OSError(errno.ENOSPC, "words"), None, True),
        (OSError(errno.EDQUOT, "words"), None, True),
        (OSError(errno.EACCES, "words"), None, False),
    ],
)
def test_errors_are_told_apart(error, damaged, full):
    assert damaged is None or is_damage(error) is damaged
    assert is_full(error) is full


def test_a_database_moves_with_its_journal(tmp_path):
    path = tmp_path / "log.sqlite"
    for ending in ("", "-journal", "-wal", "-shm"):
        (tmp_path / f"log.sqlite{ending}").write_text(ending)
    aside = set_aside(path, 1_700_000_000.9)
    assert aside == tmp_path / "log.sqlite.damaged-1700000000"
    assert sorted(each.name.removeprefix(aside.name) for each in tmp_path.iterdir()) == ["", "-journal", "-shm", "-wal"]
    assert files_set_aside(path) == [aside]
    assert set_aside_at(aside) == 1_700_000_000


def test_the_eldest_go(tmp_path):
    path = tmp_path / "log.sqlite"
    for now in (9, 10, 100, 101, -5):
        path.write_text("damaged")
        set_aside(path, now)
    assert [set_aside_at(each) for each in files_set_aside(path)] == [10, 100, 101][-MAX_SET_ASIDE:]


@pytest.mark.parametrize(
    "name", ["log.sqlite", "log.sqlite.damaged-", "log.sqlite.damaged-x", "log.sqlite.damaged-1-wal"]
)
def test_other_names_are_not_taken_for_one(tmp_path, name):
    (tmp_path / name).touch()
    assert set_aside_at(tmp_path / name) is None
    assert files_set_aside(tmp_path / "log.sqlite") == []
