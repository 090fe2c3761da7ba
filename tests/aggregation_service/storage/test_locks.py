import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, select

from aggregation_service.storage.database import Database
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import add_population
from aggregation_service.storage.tables import participation


def add_device(connection: Connection, number: int) -> None:
    row = {"population": "en", "device_id": f"{number:032x}", "last_seen_at": 0.0, "reported": 0}
    connection.execute(participation.insert().values(row))


def count_devices(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(participation)).scalar_one()


@pytest.fixture
def populated(database: Database) -> Database:
    with database.write() as connection:
        for name in ("de", "en"):
            add_population(connection, name, 0.0)
    return database


def test_no_change_to_a_locked_population_is_lost(populated: Database) -> None:
    """Each reads the number of devices, and adds one named for it: two that read the same number would collide."""

    def count(_number: int) -> None:
        with populated.write() as connection:
            lock_population(connection, "en")
            add_device(connection, count_devices(connection))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(60)))
    with populated.read() as connection:
        assert count_devices(connection) == 60


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_other_populations_and_rows_that_name_this_one_do_not_wait(populated: Database) -> None:
    waited = threading.Event()

    def lock_again() -> None:
        with populated.write() as connection:
            lock_population(connection, "en")
            waited.set()

    with ThreadPoolExecutor(1) as pool, populated.write() as holder:
        lock_population(holder, "en")
        with populated.write() as connection:
            lock_population(connection, "de")
            add_device(connection, 0)
        pool.submit(lock_again)
        assert not waited.wait(0.2)
        holder.rollback()
        assert waited.wait(5)


def test_a_lock_ends_with_its_transaction(populated: Database) -> None:
    for _ in range(2):
        with populated.write() as connection:
            lock_population(connection, "en")
            lock_population(connection, "en")
            lock_population(connection, "nobody")
