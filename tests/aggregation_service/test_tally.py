"""A flood of refused requests costs a commit now and then, and every one of them is counted."""

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event

from aggregation_service.storage import books
from aggregation_service.storage.database import Database
from aggregation_service.tally import Tally

POPULATION = "en-gb"


@dataclass
class Stopwatch:
    at: float = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def commits(rehearsal: Any) -> list[object]:
    """Grows with every commit of the service's own connections."""
    seen: list[object] = []
    event.listen(rehearsal.service.database.engine, "commit", seen.append)
    return seen


def read(rehearsal: Any, population: str = POPULATION) -> dict[str, int]:
    with rehearsal.service.database.read() as connection:
        return books.list_refusals(connection, population)


def test_many_counts_are_one_commit_and_the_rest_comes_later(
    rehearsal: Any, stopwatch: Stopwatch, commits: list[object]
) -> None:
    tally = Tally(rehearsal.service.database, every_s=2.0, now=stopwatch)
    tally.write_if_due()
    assert not commits  # of nothing
    for number in range(1000):
        tally.count(POPULATION if number % 4 else "", "wrong_signature")
        tally.write_if_due()
    assert len(commits) == 1
    assert read(rehearsal, "") == {"wrong_signature": 1}
    stopwatch.at += 2.0
    tally.write_if_due()
    assert read(rehearsal, "") == {"wrong_signature": 250}
    assert read(rehearsal) == {"wrong_signature": 750}
    tally.count(POPULATION, "late_report")
    tally.write_if_due()
    tally.write()  # at the process's end
    assert read(rehearsal) == {"wrong_signature": 750, "late_report": 1}


def test_processes_that_count_at_once_add_up(rehearsal: Any) -> None:
    kinds = ("late_report", "wrong_signature", "too_large")

    def knock(tally: Tally, order: int) -> None:
        for number in range(20):
            tally.count(POPULATION, kinds[(number * order) % 3])
            tally.write_if_due()
        tally.write()

    databases = [Database(rehearsal.config.database_url) for _ in range(4)]
    tallies = [Tally(database, every_s=0.0) for database in databases]
    threads = [threading.Thread(target=knock, args=(tally, 1 + place % 2)) for place, tally in enumerate(tallies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()
    assert sum(read(rehearsal).values()) == 80
    assert set(read(rehearsal)) == set(kinds)


def test_what_a_failing_database_did_not_take_is_offered_again(
    rehearsal: Any, stopwatch: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    tally = Tally(rehearsal.service.database, every_s=2.0, now=stopwatch)
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE refusals RENAME TO hidden")
    tally.count(POPULATION, "late_report")
    tally.write_if_due()
    assert "refusals_not_counted" in caplog.text
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO refusals")
    tally.count(POPULATION, "late_report")
    stopwatch.at += 2.0
    tally.write_if_due()
    assert read(rehearsal) == {"late_report": 2}


def test_a_service_in_real_time_writes_a_flood_once(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, commits: list[object]
) -> None:
    stopwatch = Stopwatch()
    tally = Tally(rehearsal.service.database, every_s=2.0, now=stopwatch)
    monkeypatch.setitem(rehearsal.apps[-1].extensions, "keychorus-tally", tally)
    for _ in range(30):
        assert rehearsal.request("GET", "/nothing").status_code == 404
    assert len(commits) == 1
    stopwatch.at += 2.5
    assert rehearsal.request("GET", "/health").status_code == 200  # any request will do
    assert read(rehearsal, "") == {"unknown_address": 30}
