import logging
import os
import pwd
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from aggregation_service import audit
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.tables import audit as table


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database)
    yield database
    database.close()


@pytest.fixture
def log(database: Database) -> Database:
    """Five entries."""
    for number in range(5):
        record(database, number)
    return database


def record(database: Database, number: int, action: str = "policy.changed") -> None:
    with database.write() as connection:
        audit.record(
            connection, actor="ada", action=action, subject="en-gb", details={"b": number, "a": 0.1}, now=0.1 + number
        )


@contextmanager
def tampering(database: Database) -> Iterator[Connection]:
    """What is done in it is undone."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def verify(database: Database, head: str | None = None) -> int:
    with database.read() as connection:
        return audit.verify(connection, head)


def head(database: Database) -> str:
    with database.read() as connection:
        return audit.head(connection)


def test_an_empty_log_is_whole(database: Database) -> None:
    assert head(database) == audit.GENESIS
    assert verify(database) == verify(database, audit.GENESIS) == 0


def test_entries_are_kept_and_chained(log: Database) -> None:
    assert verify(log) == 5
    with log.read() as connection:
        entries = audit.list_entries(connection, limit=2)
        older = audit.list_entries(connection, before=entries[-1].id)
        assert audit.count(connection) == 5
    assert [entry.id for entry in entries + older] == [5, 4, 3, 2, 1]
    assert entries[0].details == {"a": 0.1, "b": 4}
    assert entries[0].at == 4.1
    assert entries[0].previous_sha256 == entries[1].sha256
    assert head(log) == entries[0].sha256


def test_a_changed_entry_is_found(log: Database) -> None:
    changes: list[dict[str, object]] = [
        {"at": 2.100001},
        {"actor": "eve"},
        {"action": "policy.chang"},
        {"subject": "en-us"},
        {"details": '{"a":0.1,"b":3}'},
        {"details": '{"b":2,"a":0.1}'},
        {"sha256": "1" * 64},
        {"previous_sha256": "1" * 64},
    ]
    for values in changes:
        with tampering(log) as connection:
            connection.execute(update(table).where(table.c.id == 3).values(values))
            with pytest.raises(audit.BrokenChain, match="entry 3 "):
                audit.verify(connection)
    assert verify(log) == 5


def test_a_deleted_entry_is_found(log: Database) -> None:
    for number in (1, 3, 4):
        with tampering(log) as connection:
            connection.execute(delete(table).where(table.c.id == number))
            with pytest.raises(audit.BrokenChain, match=f"does not follow entry {number - 1}"):
                audit.verify(connection)
            for later in range(number + 1, 6):
                connection.execute(update(table).where(table.c.id == later).values(id=later - 1))
            with pytest.raises(audit.BrokenChain):
                audit.verify(connection)


def test_entries_that_changed_places_are_found(log: Database) -> None:
    with tampering(log) as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(update(table).where(table.c.id == old).values(id=new))
        with pytest.raises(audit.BrokenChain):
            audit.verify(connection)


def test_an_inserted_entry_is_found(log: Database) -> None:
    with tampering(log) as connection:
        for number in (5, 4):
            connection.execute(update(table).where(table.c.id == number).values(id=number + 1))
        copied = dict(connection.execute(select(table).where(table.c.id == 3)).one()._mapping)
        connection.execute(insert(table).values(copied | {"id": 4}))
        with pytest.raises(audit.BrokenChain, match="entry 4 does not follow entry 3"):
            audit.verify(connection)


def test_a_log_that_was_cut_off_or_written_anew_is_found_by_its_head(log: Database) -> None:
    remembered = head(log)
    record(log, 5)
    assert verify(log, remembered) == 6
    with log.write() as connection:
        connection.execute(delete(table).where(table.c.id >= 5))
    assert verify(log) == 4
    with pytest.raises(audit.BrokenChain, match=f"must contain the hash {remembered}"):
        verify(log, remembered)
    record(log, 4, "policy.changed otherwise")
    assert verify(log) == 5
    with pytest.raises(audit.BrokenChain, match="cut off or written anew"):
        verify(log, remembered)


def test_writers_wait_for_each_other(database: Database) -> None:
    threads = [
        threading.Thread(target=lambda start=start: [record(database, start + n) for n in range(5)])  # type: ignore[misc]
        for start in range(0, 40, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(database) == 40


def test_each_new_head_is_in_the_log_once_it_is_kept(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aggregation_service")
    with tampering(database) as connection:
        audit.record(connection, actor="ada", action="x", subject="y", details={}, now=0.0)
    assert caplog.messages == []
    heads = []
    for number in range(2):
        record(database, number)
        heads.append(head(database))
    assert caplog.messages == [f"audit_head entry={entry} sha256={sha256}" for entry, sha256 in enumerate(heads, 1)]


def test_an_action_that_fails_leaves_no_entry(database: Database) -> None:
    with tampering(database) as connection:
        audit.record(connection, actor="ada", action="x", subject="y", details={}, now=0.0)
        assert audit.verify(connection) == 1
    assert verify(database) == 0


def test_what_does_not_fit_is_refused(database: Database) -> None:
    texts = {"actor": "ada", "action": "x", "subject": "y"}
    for name, length in {"actor": 63, "action": 64, "subject": 255}.items():
        for text in ("", "x" * (length + 1)):
            with pytest.raises(ValueError, match=f"{name} must have 1 to {length}"), database.write() as connection:
                audit.record(connection, **{**texts, name: text}, details={}, now=0.0)
        with database.write() as connection:
            audit.record(connection, **{**texts, name: "x" * length}, details={}, now=0.0)


def test_who_works_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    known = pwd.getpwuid(os.getuid())
    assert audit.machine_actor() == f"cli:{known.pw_name}"
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "grace")
    assert audit.machine_actor() == f"cli:{known.pw_name}"
    long = pwd.struct_passwd(("a" * 100, *known[1:]))
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): long}.__getitem__)
    assert audit.machine_actor() == "cli:" + "a" * 59
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert audit.machine_actor() == f"cli:{os.getuid()}"
