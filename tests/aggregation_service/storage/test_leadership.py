import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text

from aggregation_service.clock import SystemClock
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.leadership import Deposed, Leadership
from aggregation_service.storage.models import add_population
from aggregation_service.storage.tables import coordinator, populations

Candidates = Callable[[str], Leadership]

LEADER = """
import os, sys, time
from aggregation_service.clock import SystemClock
from aggregation_service.storage.database import Database
from aggregation_service.storage.leadership import Leadership
leader = Leadership(Database(sys.argv[1]), "another process", SystemClock())
taken = leader.acquire()
child = os.fork()
if child:
    print(taken, child, flush=True)
time.sleep(60)
"""


@pytest.fixture
def candidates(database: Database) -> Iterator[Candidates]:
    """Makes candidates that each have their own connections, as processes do."""
    made: list[tuple[Leadership, Database]] = []

    def candidate(holder: str) -> Leadership:
        own = Database(database.engine.url.render_as_string(hide_password=False))
        made.append((Leadership(own, holder, SystemClock()), own))
        return made[-1][0]

    yield candidate
    for leadership, own in made:
        leadership.release()
        own.close()


def row(database: Database) -> tuple[int, str]:
    with database.read() as connection:
        epoch, holder = connection.execute(select(coordinator.c.epoch, coordinator.c.holder)).one()
    return epoch, holder


def test_one_coordinates_and_epochs_grow(database: Database, candidates: Candidates) -> None:
    first, second = candidates("first"), candidates("second")
    assert first.epoch is None
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert (first.epoch, second.epoch, row(database)) == (1, None, (1, "first"))
    first.release()
    first.release()
    assert second.acquire()
    assert not first.acquire()
    assert (first.epoch, second.epoch, row(database)) == (None, 2, (2, "second"))


def test_of_many_that_try_at_once_one_coordinates(candidates: Candidates) -> None:
    all_of_them = [candidates(str(number)) for number in range(6)]
    for epoch in range(1, 6):
        with ThreadPoolExecutor(6) as pool:
            taken = list(pool.map(Leadership.acquire, all_of_them))
        assert sum(taken) == 1
        leader = all_of_them[taken.index(True)]
        assert leader.epoch == epoch
        leader.release()


def test_a_killed_coordinator_is_taken_over_though_its_children_live(
    database: Database, candidates: Candidates
) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    process = subprocess.Popen([sys.executable, "-c", LEADER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    taken, child = process.stdout.readline().split()
    try:
        candidate = candidates("we")
        assert taken == "True"
        assert not candidate.acquire()
        process.kill()
        deadline = time.monotonic() + 10
        while not candidate.acquire():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert row(database) == (2, "we")
    finally:
        process.kill()
        os.kill(int(child), signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_forked_child_does_not_coordinate_and_its_parent_still_does(
    database: Database, candidates: Candidates
) -> None:
    leader = candidates("parent")
    assert leader.acquire()
    child = os.fork()
    if child == 0:
        os._exit(0 if leader.epoch is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert leader.acquire()
    assert row(database) == (1, "parent")


def test_the_deposed_can_write_nothing(database: Database, candidates: Candidates) -> None:
    leader, heir = candidates("leader"), candidates("heir")
    assert leader.acquire()
    leader._lock.drop()  # as a kernel or a server would whose holder was silent for too long
    assert heir.acquire()

    def write() -> None:
        with database.write() as connection:
            add_population(connection, "en", 0.0)
            leader.check(connection)

    with pytest.raises(Deposed, match="leader does not coordinate any more"):
        write()
    with database.read() as connection:
        assert connection.execute(select(populations)).all() == []
    assert leader.epoch is None
    with pytest.raises(Deposed, match="does not coordinate"):
        write()
    with database.write() as connection:
        heir.check(connection)


def test_nobody_takes_over_in_the_middle_of_a_checked_transaction(database: Database, candidates: Candidates) -> None:
    leader, heir = candidates("leader"), candidates("heir")
    assert leader.acquire()
    leader._lock.drop()
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            leader.check(connection)
            taken = pool.submit(heir.acquire)
            time.sleep(0.2)
            assert not taken.done()
        assert taken.result(10)
    assert (leader.epoch, heir.epoch) == (1, 2)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_lost_session_is_a_lost_lock(database: Database, candidates: Candidates) -> None:
    leader, heir = candidates("leader"), candidates("heir")
    assert leader.acquire()
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    with database.write() as connection:
        assert connection.execute(text(end)).all() == [(True,)]
    assert leader.acquire()
    assert leader.epoch == 2
    with database.write() as connection:
        connection.execute(text(end))
    assert heir.acquire()
    assert not leader.acquire()
    assert (leader.epoch, heir.epoch) == (None, 3)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_who_waits_asks_over_one_session(candidates: Candidates) -> None:
    leader, heir = candidates("leader"), candidates("heir")
    assert leader.acquire()
    asked = set()
    for _ in range(3):
        assert not heir.acquire()
        asked.add(heir._lock._session.info.backend_pid)  # type: ignore[attr-defined]
    assert len(asked) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_removed_lock_file_is_a_lost_lock(database: Database, candidates: Candidates) -> None:
    leader = candidates("leader")
    assert leader.acquire()
    path = Path(f"{database.engine.url.database}.coordinator")
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    heir = candidates("heir")
    assert heir.acquire()
    assert not leader.acquire()
    assert (leader.epoch, heir.epoch) == (None, 2)


def test_a_database_in_memory_has_one_coordinator_too() -> None:
    database = Database("sqlite://")
    upgrade(database)
    first, second = (Leadership(database, name, SystemClock()) for name in ("first", "second"))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert second.epoch == 2
    database.close()


def test_a_failed_beginning_leaves_the_lock_free(empty_database: Database) -> None:
    leader = Leadership(empty_database, "leader", SystemClock())
    for _ in range(2):
        with pytest.raises(Exception, match="coordinator"):  # there is no such table yet
            leader.acquire()
        assert leader.epoch is None
    upgrade(empty_database)
    assert leader.acquire()
    leader.release()


@pytest.mark.parametrize("holder", ["", "a" * 129])
def test_a_holder_has_a_name_that_fits(holder: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with pytest.raises(ValueError, match=f"holder must have 1 to 128 characters, got {len(holder)}"):
        Leadership(database, holder, SystemClock())
    database.close()
