from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from aggregation_service.storage.books import count_refusal, list_refusals
from aggregation_service.storage.database import Database, OutdatedDatabase, check_is_current, upgrade
from aggregation_service.storage.models import add_population
from aggregation_service.storage.tables import files, metadata, populations, tasks


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    yield database
    database.close()


def test_migrations_make_exactly_the_tables_from_nothing(database: Database) -> None:
    with pytest.raises(OutdatedDatabase, match=r"must be at revision .* got None"):
        check_is_current(database)
    upgrade(database)
    upgrade(database)
    check_is_current(database)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        indexes = inspect(connection).get_indexes("rounds")
    assert [(index["name"], index["unique"]) for index in indexes] == [("one_open_round", 1)]


def test_sqlite_is_set_up_to_keep_what_it_confirmed(database: Database) -> None:
    with database.read() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_foreign_keys_hold(database: Database) -> None:
    upgrade(database)
    row = {"population": "nobody", "plan_sha256": "0", "training_graph_sha256": "0", "parameters": ""}
    numbers = {"optimizer": "{}", "created_at": 0.0}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(tasks.insert().values({**row, **numbers}))


def test_an_exception_rolls_back(database: Database) -> None:
    upgrade(database)
    with pytest.raises(IntegrityError), database.write() as connection:
        _ = [add_population(connection, "en", 0.0) for _ in range(2)]  # type: ignore[func-returns-value]
    with database.read() as connection:
        assert connection.execute(select(populations)).all() == []


def test_errors_never_show_what_was_to_be_stored(database: Database) -> None:
    upgrade(database)
    with pytest.raises(IntegrityError) as caught, database.write() as connection:
        connection.execute(files.insert().values(sha256="a", size_bytes=None, content=b"sesame"))
    assert "sesame" not in str(caught.value)


def test_writers_wait_for_one_another(database: Database) -> None:
    """Each reads, then writes what it read plus one: without a write lock from the start, counts would be lost."""
    upgrade(database)

    def count(_number: int) -> None:
        with database.write() as connection:
            count_refusal(connection, "", "late")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(100)))
    with database.read() as connection:
        assert list_refusals(connection, "") == {"late": 100}
