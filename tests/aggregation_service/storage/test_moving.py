from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgresServer
from sqlalchemy import select

from aggregation_service.privacy.ledger import ReleasesLost
from aggregation_service.storage import books, models
from aggregation_service.storage.database import Database, check_is_current
from aggregation_service.storage.dumps import DumpError, dump
from aggregation_service.storage.files import put_file
from aggregation_service.storage.moving import move
from aggregation_service.storage.tables import ledger, metadata

EVENT = ReleasesLost(num_releases=1, after_round=0, noise_multiplier=1.0, l2_clip_norm=1.0)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def target(postgresql: PostgresServer) -> Iterator[Database]:
    url = postgresql.create_database(empty=True)
    database = Database(url)
    yield database
    database.close()
    postgresql.drop_database(url)


@pytest.fixture
def dumped(database: Database, tmp_path: Path) -> Path:
    """Rows of every type of column."""
    with database.write() as connection:
        models.add_population(connection, "en", 1.0)
        for number in range(40):
            entry = put_file(connection, bytes([number]) * 1000)
            row = {"population": "en", "model_version": 2**40 + number, "file_sha256": entry.sha256}
            connection.execute(metadata.tables["checkpoints"].insert().values(**row, created_at=0.1))
            books.append_event(connection, "en", EVENT, number + 0.1)
    dump(database.engine.url.render_as_string(), tmp_path / "dump", lambda _done, _total: None)
    return tmp_path / "dump"


def everything(database: Database) -> dict[str, list[Any]]:
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def test_all_rows_arrive_and_numbers_go_on(database: Database, target: Database, dumped: Path) -> None:
    before = dumped.read_bytes()
    told: list[int] = []
    move(dumped, target.engine.url.render_as_string(), lambda done, _total: told.append(done))
    check_is_current(target)
    assert everything(target) == everything(database)
    with target.write() as connection:
        books.append_event(connection, "en", EVENT, 0.0)
        assert max(connection.scalars(select(ledger.c.id))) == 41
    assert dumped.read_bytes() == before
    assert told == sorted(told)
    assert told[-1] == len(before)


def test_nothing_is_overwritten(target: Database, dumped: Path) -> None:
    url = target.engine.url.render_as_string()
    move(dumped, url, lambda _done, _total: None)
    before = everything(target)
    with pytest.raises(DumpError, match="must have no rows, and files has"):
        move(dumped, url, lambda _done, _total: None)
    assert everything(target) == before
