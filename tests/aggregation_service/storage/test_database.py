import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError

from aggregation_service.storage.database import (
    Database,
    OutdatedDatabase,
    UnsupportedDatabase,
    check_is_current,
    current_revision,
    parse_url,
    sqlite_path,
    upgrade,
)
from aggregation_service.storage.models import add_population
from aggregation_service.storage.tables import files, metadata, populations, tasks


def test_migrations_make_exactly_the_tables_from_nothing(empty_database: Database) -> None:
    with pytest.raises(OutdatedDatabase, match=r"must be at revision .* got None"):
        check_is_current(empty_database)
    upgrade(empty_database)
    upgrade(empty_database)
    check_is_current(empty_database)
    with empty_database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        indexes = inspect(connection).get_indexes("rounds")
    assert [(index["name"], bool(index["unique"])) for index in indexes if not index.get("duplicates_constraint")] == [
        ("one_open_round", True)
    ]


def test_two_hosts_that_start_together_migrate_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [empty_database] * 4))
    check_is_current(empty_database)


def test_a_migration_that_fails_leaves_nothing_behind(empty_database: Database) -> None:
    with empty_database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE nonces (in_the_way INTEGER)")
    with pytest.raises(DBAPIError):
        upgrade(empty_database)
    assert current_revision(empty_database) is None
    with empty_database.read() as connection:
        assert inspect(connection).get_table_names() == ["nonces"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_sqlite_is_set_up_to_keep_what_it_confirmed(database: Database) -> None:
    with database.read() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_new_sqlite_files_have_large_pages_and_others_stay_as_they_are(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("CREATE TABLE old (number INTEGER)")
    old = Database(f"sqlite:///{path}")
    upgrade(old)
    for opened, page_bytes in ((database, 16384), (old, 4096)):
        with opened.read() as reader:
            assert reader.execute(text("PRAGMA page_size")).scalar_one() == page_bytes
            assert reader.execute(text("PRAGMA wal_autocheckpoint")).scalar_one() == 4000
    old.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_postgresql_is_set_up_to_keep_what_it_confirmed(database: Database) -> None:
    names = ("synchronous_commit", "lock_timeout", "transaction_isolation", "transaction_read_only")
    found = {}
    for kind, transaction in (("write", database.write), ("read", database.read), ("again", database.write)):
        with transaction() as connection:
            found[kind] = tuple(connection.execute(text(f"SHOW {name}")).scalar_one() for name in names)
    assert found["write"] == found["again"] == ("on", "30s", "read committed", "off")
    assert found["read"] == ("on", "30s", "repeatable read", "on")


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_postgresql_does_not_try_to_compress_what_cannot_be(database: Database) -> None:
    found = text("SELECT attname FROM pg_attribute WHERE attstorage = 'e' AND attnum > 0 ORDER BY attname")
    with database.read() as connection:
        assert list(connection.scalars(found)) == ["content", "optimizer_state"] + 3 * ["sealed"]  # three tables


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_what_a_url_says_goes_before_our_settings(database_url: str) -> None:
    database = Database(f"{database_url}&application_name=theirs&options=-c%20lock_timeout%3D7s")
    with database.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "theirs"
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "7s"
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    database.close()


def test_foreign_keys_hold(database: Database) -> None:
    row = {"population": "nobody", "plan_sha256": "0", "training_graph_sha256": "0", "parameters": ""}
    numbers = {"optimizer": "{}", "created_at": 0.0}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(tasks.insert().values({**row, **numbers}))


def test_an_exception_rolls_back(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        _ = [add_population(connection, "en", 0.0) for _ in range(2)]  # type: ignore[func-returns-value]
    with database.read() as connection:
        assert connection.execute(select(populations)).all() == []


@pytest.mark.parametrize("missing", ["content", "size_bytes"])
def test_errors_never_show_what_was_to_be_stored(database: Database, missing: str) -> None:
    row = {"sha256": "open sesame", "size_bytes": 424242, "content": b"sesame"}
    with pytest.raises(IntegrityError, match=missing) as caught, database.write() as connection:
        connection.execute(files.insert().values({**row, missing: None}))
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value.args)
    for secret in ("sesame", b"sesame".hex(), "424242"):
        assert secret not in told


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reader:
        assert reader.execute(select(populations)).all() == []
        with database.write() as writer:
            add_population(writer, "en", 0.0)
        assert reader.execute(select(populations)).all() == []
    with database.read() as reader:
        assert len(reader.execute(select(populations)).all()) == 1


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(InternalError, match="read-only"), database.read() as reader:
        add_population(reader, "en", 0.0)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_server_that_dropped_its_connections_is_met_anew(database: Database) -> None:
    with database.read() as connection:
        mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = Database(database.engine.url.render_as_string(hide_password=False))
    with other.write() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend({mine})"))
    other.close()
    with database.write() as connection:
        add_population(connection, "en", 0.0)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:secret@h/n", "postgresql+psycopg"),
        ("postgres://u:secret@h/n", "postgresql+psycopg"),
        ("postgresql+psycopg://u:secret@h/n", "postgresql+psycopg"),
        ("sqlite:////a/b.sqlite", "sqlite"),
    ],
)
def test_a_url_is_read_with_the_driver_that_is_installed(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:secret@h/n", "postgresql+asyncpg://u:secret@h/n"])
def test_other_databases_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="database_url") as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_a_sqlite_file_is_named_by_its_path(tmp_path: Path) -> None:
    assert sqlite_path(parse_url(f"sqlite:///{tmp_path}/a.sqlite")) == tmp_path / "a.sqlite"
    assert sqlite_path(parse_url("sqlite://")) is sqlite_path(parse_url("sqlite:///:memory:")) is None
    with pytest.raises(UnsupportedDatabase, match="by its path"):
        parse_url(f"sqlite:///file:{tmp_path}/a.sqlite?uri=true")


def test_a_server_that_is_not_there_is_not_waited_for() -> None:
    database = Database("postgresql://u:secret@127.0.0.1:1/n")
    with pytest.raises(OperationalError) as caught, database.read():
        pass
    assert "secret" not in str(caught.value)
    database.close()
