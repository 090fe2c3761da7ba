import sqlite3
import threading

import pytest

from device_runtime.storage import sqlite_file
from device_runtime.storage.sqlite_file import SqliteFile

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (value INTEGER NOT NULL) STRICT"


@pytest.fixture
def open_file(tmp_path):
    opened = []

    def open_file():
        opened.append(
            SqliteFile(tmp_path / "new" / "a.sqlite", SCHEMA, clock=lambda: 1.0, after_damage="it begins anew")
        )
        return opened[-1]

    yield open_file
    for file in opened:
        file.close()


def add(*values):
    return lambda connection: connection.executemany("INSERT INTO numbers VALUES (?)", [(each,) for each in values])


def values(connection):
    return [row[0] for row in connection.execute("SELECT value FROM numbers ORDER BY value")]


def test_it_is_opened_when_it_is_needed_and_again_after_closing(open_file, tmp_path):
    file = open_file()
    assert not (tmp_path / "new").exists()
    file.write(add(1))
    file.close()
    file.close()
    assert file.read(values) == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_transaction_is_whole_or_not_at_all(open_file, error):
    file = open_file()

    def fail(connection):
        add(1, 2)(connection)
        raise error

    with pytest.raises(error):
        file.write(fail)
    assert file.read(values) == []
    file.write(add(3))
    assert open_file().read(values) == [3]


def test_what_breaks_a_rule_of_the_table_is_no_damage(open_file, caplog):
    file = open_file()
    with pytest.raises(sqlite3.IntegrityError):
        file.write(add(1, None))
    assert file.read(values) == []
    assert caplog.records == []


def test_a_lock_that_is_held_too_long_is_told(open_file, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    holder, other = open_file(), open_file()
    other.read(values)

    def hold(connection):
        add(1)(connection)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.write(add(2))

    holder.write(hold)
    other.write(add(3))
    assert holder.read(values) == [1, 3]


def test_a_second_object_of_the_same_process_leaves_the_locks_of_the_first(open_file, monkeypatch):
    """Opening and closing the file by hand would drop them: POSIX locks belong to the process."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    holder = open_file()
    holder.read(values)

    def hold(connection):
        add(1)(connection)
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                open_file().write(add(2))

    holder.write(hold)


def test_a_replaced_file_is_followed(open_file):
    one, other = open_file(), open_file()
    one.write(add(1))
    other.read(values)
    one.discard()
    one.write(add(2))
    assert other.read(values) == [2]


def test_exclusiveness_is_reentrant_and_keeps_others_out(open_file):
    one, other = open_file(), open_file()
    entered = threading.Event()

    def enter():
        with other.exclusively():
            entered.set()

    thread = threading.Thread(target=enter)
    with one.exclusively(), one.exclusively():
        one.write(add(1))
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(5)
    thread.join()


def test_damage_found_by_many_threads_is_set_aside_once(open_file, tmp_path, caplog):
    files = [open_file() for _ in range(6)]
    for file in files:
        file.write(add(1))
    (tmp_path / "new" / "a.sqlite").write_bytes(b"\xff" * 9_000)
    threads = [threading.Thread(target=file.write, args=(add(7),)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files[0].read(values) == [7] * 6
    assert caplog.messages == [
        f"{tmp_path / 'new' / 'a.sqlite'} is damaged and was set aside as a.sqlite.damaged-1; it begins anew"
    ]


def test_a_path_that_is_no_file_is_told(open_file, tmp_path):
    (tmp_path / "new" / "a.sqlite").mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_file().read(values)
    assert (tmp_path / "new" / "a.sqlite").is_dir()


def test_damage_anywhere_is_found_when_the_file_is_opened(open_file, tmp_path, caplog):
    file = open_file()
    file.write(add(*range(5_000)))
    file.close()
    with (tmp_path / "new" / "a.sqlite").open("r+b") as raw:
        raw.seek(-4096, 2)
        raw.write(b"\xff" * 4096)
    assert open_file().read(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    assert "is damaged and was set aside" in caplog.text
