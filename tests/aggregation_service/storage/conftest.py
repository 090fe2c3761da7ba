"""Databases of both kinds: empty ones, and migrated ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import PostgresServer

from aggregation_service.storage.database import Database, upgrade


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[Database]:
    """No tables yet."""
    if database_kind == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    url = server.create_database(empty=True)
    database = Database(url)
    yield database
    database.close()
    server.drop_database(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """All tables, no rows."""
    database = Database(database_url)
    upgrade(database)
    yield database
    database.close()
