"""Which databases are killed: a PostgreSQL of the soak's own, and nobody else's."""

from unittest.mock import Mock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.storage.database import Database
from emulator.soaking import databases as module
from emulator.soaking.databases import CannotRun, SoakDatabase, database
from emulator.soaking.killing import Site

URL = "postgresql://somebody@host/books"


@pytest.mark.parametrize(("kind", "url"), [("sqlite", None), (URL, URL)])
def test_files_and_other_peoples_servers_are_left_alone(kind, url):
    with database(kind) as made:
        assert made == SoakDatabase(url=url, server=None)
        made.crash()
        assert set(Site(Mock(), made, Mock()).targets) == {"worker", "coordinator", "service"}


def test_a_server_is_killed_and_started_again(monkeypatch):
    server, killed = Mock(), []
    server.get_pid.return_value = 77
    monkeypatch.setattr(module, "kill_family", killed.append)
    made = SoakDatabase(url=URL, server=server)
    assert "database" in Site(Mock(), made, Mock()).targets
    made.crash()
    assert killed == [77]
    server.ensure_postgres_running.assert_called_once_with()


def test_one_of_its_own_survives_kill_9_and_is_gone_in_the_end():
    try:
        with database("postgresql") as made:
            books = Database(made.url)
            _execute(books, "CREATE TABLE kept AS SELECT 7 AS value")
            before = made.server.get_pid()
            made.crash()
            assert made.server.get_pid() != before
            assert _value(books) == 7
            books.close()
    except CannotRun as error:
        pytest.skip(str(error))
    gone = Database(made.url)
    with pytest.raises(SQLAlchemyError):
        _value(gone)
    gone.close()


def _execute(books, statement):
    with books.write() as connection:
        connection.execute(text(statement))


def _value(books):
    """Asked again once: the pool's connection went down with the server."""
    for attempt in range(2):
        try:
            with books.read() as connection:
                return connection.scalar(text("SELECT value FROM kept"))
        except SQLAlchemyError:
            if attempt:
                raise
    return None
