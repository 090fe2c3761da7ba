import logging
import math
import threading

import msgspec
import pytest
from sqlalchemy import delete, insert, update

from aggregation_service.privacy.ledger import ReleasesLost, UnknownEvent
from aggregation_service.privacy.ledger_chain import GENESIS, BrokenLedger, check_chain
from aggregation_service.storage import books, models
from aggregation_service.storage.database import Database
from aggregation_service.storage.tables import ledger

EVENT = ReleasesLost(num_releases=1, after_round=0, noise_multiplier=1.0, l2_clip_norm=1.0)


@pytest.fixture
def two(database: Database) -> Database:
    """Two populations, and three events of each in turn."""
    with database.write() as connection:
        for population in ("de", "en"):
            models.add_population(connection, population, 1.0)
    for number in range(6):
        append(database, number)
    return database


def append(database: Database, number: int) -> None:
    with database.write() as connection:
        books.append_event(connection, ("de", "en")[number % 2], numbered(number), number + 0.1)


def numbered(number: int) -> ReleasesLost:
    return msgspec.structs.replace(EVENT, after_round=number)


def check(database: Database, head: str | None = None) -> str:
    with database.read() as connection:
        return check_chain(books.ledger_rows(connection), head)


def test_events_are_kept_by_population_and_chained_over_all(two: Database) -> None:
    with two.read() as connection:
        assert books.list_events(connection, "en") == [numbered(1), numbered(3), numbered(5)]
        assert books.ledger_head(connection) == check(two)
        assert [row.population for row in books.ledger_rows(connection)] == ["de", "en"] * 3


def test_an_empty_ledger_begins_with_nothing(database: Database) -> None:
    assert check(database) == GENESIS
    with database.read() as connection:
        assert books.ledger_head(connection) == GENESIS


def test_a_row_that_was_removed_changed_or_put_in_is_found(two: Database) -> None:
    remembered = check(two)
    with two.read() as connection:
        third = books.ledger_rows(connection)[2]
    copied = third._asdict() | {"id": 1000}
    free = msgspec.json.encode(msgspec.structs.replace(EVENT, noise_multiplier=9.0)).decode()
    for tampering in (
        delete(ledger).where(ledger.c.id == third.id),
        update(ledger).where(ledger.c.id == third.id).values(event=free),
        update(ledger).where(ledger.c.id == third.id).values(population="en"),
        update(ledger).where(ledger.c.id == third.id).values(recorded_at=0.0),
        update(ledger).where(ledger.c.id == third.id).values(id=1000),
        insert(ledger).values(copied),
        delete(ledger).where(ledger.c.id > third.id),
        delete(ledger),
    ):
        with two.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(tampering)
            with pytest.raises(BrokenLedger):
                check_chain(books.ledger_rows(connection), remembered)
            transaction.rollback()
    assert check(two, remembered) == remembered


def test_writers_wait_for_each_other(two: Database) -> None:
    def append_four() -> None:
        for number in range(4):
            append(two, number)

    threads = [threading.Thread(target=append_four) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(two)
    with two.read() as connection:
        assert len(books.ledger_rows(connection)) == 6 + 24


def test_what_could_not_be_read_again_is_not_written(two: Database) -> None:
    before = check(two)
    for value in (math.nan, math.inf, -1.0):
        with pytest.raises(UnknownEvent), two.write() as connection:
            books.append_event(connection, "en", msgspec.structs.replace(EVENT, noise_multiplier=value), 7.1)
    assert check(two) == before


def test_a_time_in_whole_seconds_is_hashed_as_it_is_read(two: Database) -> None:
    with two.write() as connection:
        books.append_event(connection, "en", EVENT, 1_700_000_000)
    check(two)


def test_each_new_head_is_in_the_log_once_it_is_kept(two: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aggregation_service")
    with two.engine.connect() as connection, connection.begin() as transaction:
        books.append_event(connection, "en", EVENT, 7.1)
        transaction.rollback()
    assert caplog.messages == []
    append(two, 6)
    assert caplog.messages == [f"ledger_head population=de sha256={check(two)}"]
