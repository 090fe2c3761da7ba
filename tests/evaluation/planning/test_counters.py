import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import PostgresServer, postgres_server

from aggregation_service.storage.database import Database
from evaluation.bench.worker import memory_bytes
from evaluation.planning.costs import NoCosts
from evaluation.planning.counters import Counters, children, cpu_seconds, forget_peaks, parent


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(postgresql: PostgresServer) -> Iterator[Database]:
    url = postgresql.create_database(empty=True)
    opened = Database(url)
    yield opened
    opened.close()
    postgresql.drop_database(url)


def test_cpu_time_grows_by_what_is_worked() -> None:
    before, started = cpu_seconds([os.getpid()]), time.process_time()
    while time.process_time() - started < 0.2:
        sum(range(10_000))
    assert cpu_seconds([os.getpid()]) - before == pytest.approx(0.2, abs=0.1)


def test_a_peak_is_forgotten() -> None:
    held = bytearray(os.urandom(1 << 20) * 100)
    del held
    before = memory_bytes("VmHWM")
    forget_peaks([os.getpid()])
    assert memory_bytes("VmHWM") < before - 50 * 2**20


def test_a_process_that_ended_counts_nothing() -> None:
    assert cpu_seconds([2**22 - 1]) == 0


def test_the_parent_must_be_postgresql_and_here() -> None:
    for pid in (os.getpid(), 2**22 - 1):
        with pytest.raises(NoCosts, match="the database must run on this machine"):
            parent(pid)


def test_sqlite_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'service.sqlite'}")
    with pytest.raises(NoCosts, match="measured on PostgreSQL, which counts what it does, got SQLite"):
        Counters(database)
    database.close()


def test_a_write_is_a_transaction_and_bytes_and_a_read_is_neither(database: Database) -> None:
    counters = Counters(database)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE noted (content text)")
    before = counters.commits(), counters.log_bytes()
    with database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM noted").all()
    assert counters.commits() == before[0]
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO noted VALUES (repeat('x', 1000))")
    assert counters.commits() == before[0] + 1
    assert counters.log_bytes() >= before[1] + 1000


def test_the_databases_cpu_time_includes_connections_that_ended(database: Database, postgresql: PostgresServer) -> None:
    counters = Counters(database)
    before = counters.database_cpu_s()
    other = Database(str(database.engine.url.render_as_string(hide_password=False)))
    with other.read() as connection:
        connection.exec_driver_sql("SELECT sum(i) FROM generate_series(1, 2000000) AS i").all()
    during = counters.database_cpu_s()
    other.close()
    assert during - before >= 0.05
    assert counters.database_cpu_s() >= during - 0.02  # a tick may go to and fro
    assert children(parent_of(database))


def parent_of(database: Database) -> int:
    with database.read() as connection:
        return parent(int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
