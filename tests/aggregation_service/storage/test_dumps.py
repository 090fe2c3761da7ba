import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgresServer
from sqlalchemy import func, select

from aggregation_service.storage import dumps
from aggregation_service.storage.database import Database, check_is_current
from aggregation_service.storage.dumps import DumpError, dump, dump_name, load
from aggregation_service.storage.files import find_content, put_file
from aggregation_service.storage.models import add_population
from aggregation_service.storage.tables import files, participation

ROW_BYTES = 40_000


def ignore(_done: int, _total: int) -> None:
    pass


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def programs(request: pytest.FixtureRequest, database_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own, where they are needed."""
    if database_kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql")
        monkeypatch.setenv("PATH", str(server.programs))


@pytest.fixture
def target_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'restored.sqlite'}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    url = server.create_database(empty=True)
    yield url
    server.drop_database(url)


def add(database: Database, number: int) -> None:
    """A file and a device in one transaction: a dump that holds one without the other mixed two moments."""
    row = {"population": "en", "device_id": f"{number:032x}", "last_seen_at": 0.0, "reported": number}
    with database.write() as connection:
        put_file(connection, number.to_bytes(4, "big") * (ROW_BYTES // 4))
        connection.execute(participation.insert().values(row))


@pytest.mark.usefixtures("programs")
def test_a_dump_while_others_write_is_one_moment(database: Database, target_url: str, tmp_path: Path) -> None:
    with database.write() as connection:
        add_population(connection, "en", 0.0)
    for number in range(100):
        add(database, number)
    stop = threading.Event()

    def write(first: int) -> None:
        for number in range(first, first + 100_000):
            if stop.is_set():
                return
            add(database, number)

    told: list[tuple[int, int]] = []
    writers = [threading.Thread(target=write, args=(first,)) for first in (10**6, 2 * 10**6)]
    for writer in writers:
        writer.start()
    dump(url_of(database), tmp_path / "dump", lambda done, total: told.append((done, total)))
    stop.set()
    for writer in writers:
        writer.join()
    load(tmp_path / "dump", target_url, ignore)
    restored = Database(target_url)
    check_is_current(restored)
    with restored.read() as connection, database.read() as original:
        devices = connection.execute(select(func.count()).select_from(participation)).scalar_one()
        assert devices == connection.execute(select(func.count()).select_from(files)).scalar_one()
        assert 100 <= devices <= original.execute(select(func.count()).select_from(participation)).scalar_one()
        for sha256 in connection.scalars(select(files.c.sha256)):
            assert find_content(connection, sha256) == find_content(original, sha256)
    restored.close()
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    assert told
    assert all(done <= total for done, total in told)


@pytest.mark.usefixtures("programs")
def test_nothing_is_overwritten(database: Database, target_url: str, tmp_path: Path) -> None:
    dump(url_of(database), tmp_path / "dump", ignore)
    with pytest.raises(FileExistsError):
        dump(url_of(database), tmp_path / "dump", ignore)
    load(tmp_path / "dump", target_url, ignore)
    with pytest.raises(DumpError, match="never overwritten"):
        load(tmp_path / "dump", target_url, ignore)


@pytest.mark.usefixtures("programs")
def test_what_is_no_database_is_said_in_one_sentence(database: Database, target_url: str, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"neither")
    if database.engine.dialect.name == "postgresql":
        with pytest.raises(DumpError, match=r"\Apg_restore failed: .*\Z"):
            load(tmp_path / "dump", target_url, ignore)
    else:
        with pytest.raises(DumpError, match="could not be copied: file is not a database"):
            dump(f"sqlite:///{tmp_path / 'dump'}", tmp_path / "copy", ignore)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database_kind")
def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DumpError, match="pg_dump is not installed"):
        dump("postgresql://u:secret@127.0.0.1:1/n", tmp_path / "dump", ignore)


def test_the_password_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that writes down how it was called."""
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho "$PGPASSWORD" > {tmp_path}/password\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    dump("postgresql://u:s%20e'cret@h:7/n?sslmode=require", tmp_path / "dump", ignore)
    arguments = (tmp_path / "arguments").read_text()
    assert "cret" not in arguments
    for part in ("user=u", "host=h", "port=7", "dbname=n", "sslmode=require", "--no-password"):
        assert part in arguments
    assert (tmp_path / "password").read_text() == "s e'cret\n"


@pytest.mark.parametrize(
    ("url", "name"), [("sqlite:////a", "database.sqlite"), ("postgres://u@h/n", "database.pgdump")]
)
def test_a_dump_is_named_for_its_kind(url: str, name: str) -> None:
    assert dump_name(url) == name


def test_memory_has_no_dump(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="in memory"):
        dump("sqlite://", tmp_path / "dump", ignore)


def test_a_sqlite_dump_is_not_begun_anew_by_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write after every step of a copy would else make it copy for ever."""
    monkeypatch.setattr(dumps, "_PAGES_A_STEP", 1)
    source = tmp_path / "source.sqlite"
    writer = sqlite3.connect(source, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (x)")
    writer.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,) for _ in range(20)])
    remaining: list[int] = []

    def write_again(done: int, total: int) -> None:
        remaining.append(total - done)
        writer.execute("UPDATE t SET x = 'y'")

    dump(f"sqlite:///{source}", tmp_path / "dump", write_again)
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] == 0
    copy: Any = sqlite3.connect(tmp_path / "dump")
    assert copy.execute("SELECT DISTINCT substr(x, 1, 1) FROM t").fetchall() == [("x",)]
    copy.close()
    writer.close()
