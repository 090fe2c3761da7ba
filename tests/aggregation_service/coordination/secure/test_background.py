"""While a group is unmasked ticks go on; what is found counts once, and only where it is still waited for."""

import threading
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from aggregation_service.coordination.secure import leading
from aggregation_service.coordination.secure.background import Background, Work, at_once, in_thread
from aggregation_service.storage.leadership import Deposed
from aggregation_service.storage.tables import partial_sums, secure_groups


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def held(rehearsal: Any, monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Work that the leader has begun in the background, done when the test does it."""
    begun: list[Work] = []
    background = rehearsal.service.coordinator._leader._groups._background
    monkeypatch.setattr(background, "_start", begun.append)
    return begun


def stages(rehearsal: Any) -> list[tuple[str, str | None]]:
    with rehearsal.service.database.read() as connection:
        found = select(secure_groups.c.stage, secure_groups.c.failed_because).order_by(secure_groups.c.formed_at)
        return [tuple(row) for row in connection.execute(found)]


def num_sums(rehearsal: Any) -> int:
    with rehearsal.service.database.read() as connection:
        return len(connection.execute(select(partial_sums.c.round_id)).all())


def tick(rehearsal: Any) -> bool:
    led: bool = rehearsal.service.coordinator.tick()
    return led


def test_one_piece_of_work_at_a_time() -> None:
    held: list[Work] = []
    background = Background(held.append)
    assert background.begin("a", lambda: None)
    assert background.is_busy
    assert not background.begin("b", lambda: None)
    assert not background.wait(0.01)
    held.pop()()
    assert background.wait(0)
    assert not background.is_busy
    assert background.begin("b", lambda: None)


def test_a_failure_is_told_once_and_to_its_population_alone() -> None:
    def fail() -> None:
        raise ValueError("broken")

    background = Background(at_once)
    assert background.begin("a", fail)
    background.check("b")
    with pytest.raises(ValueError, match="broken"):
        background.check("a")
    background.check("a")
    assert not background.is_busy


def test_work_of_a_deposed_leader_ends_quietly() -> None:
    def fail() -> None:
        raise Deposed("another leads")

    background = Background(at_once)
    background.begin("a", fail)
    background.check("a")


def test_a_thread_does_not_make_the_caller_wait() -> None:
    may_end = threading.Event()
    background = Background(in_thread)
    assert background.begin("a", lambda: may_end.wait(10) and None)
    assert background.is_busy
    may_end.set()
    assert background.wait(10)


def test_where_no_thread_can_be_started_the_next_attempt_may() -> None:
    def refuse(work: Work) -> None:
        raise RuntimeError("can't start new thread")

    background = Background(refuse)
    with pytest.raises(RuntimeError):
        background.begin("a", lambda: None)
    assert not background.is_busy


def test_ticks_go_on_while_a_group_is_unmasked(rehearsal: Any, cohort: Any, walked: Any, held: list[Work]) -> None:
    devices = cohort.begin(8)
    walked(devices[:4])
    assert stages(rehearsal) == [("unmasking", None)]
    walked(devices[4:], until=4)  # each stage of the second group is moved on by ticks
    assert stages(rehearsal) == [("unmasking", None)] * 2
    assert tick(rehearsal)
    assert len(held) == 1, "the first group's unmasking was begun again"
    rehearsal.wait(10_000)  # far beyond every deadline, and the round still waits
    assert tick(rehearsal)
    assert rehearsal.summary()["rounds"][0]["phase"] == "reporting"
    held.pop()()
    assert stages(rehearsal)[0] == ("done", None)


def test_groups_are_unmasked_one_after_the_other(rehearsal: Any, cohort: Any, walked: Any, held: list[Work]) -> None:
    devices = cohort.begin(8)
    walked(devices)
    assert len(held) == 1
    held.pop()()
    assert tick(rehearsal)
    assert len(held) == 1
    held.pop()()
    assert stages(rehearsal) == [("done", None)] * 2
    assert tick(rehearsal)
    assert rehearsal.summary()["rounds"][0]["phase"] == "closed"


def test_work_that_was_begun_twice_counts_once(rehearsal: Any, cohort: Any, walked: Any, held: list[Work]) -> None:
    walked(cohort.begin(8)[:4])
    (work,) = held
    work_again = work
    work()
    background = rehearsal.service.coordinator._leader._groups._background
    background._busy.acquire()
    work_again()
    assert stages(rehearsal) == [("done", None)]
    assert rehearsal.summary()["rounds"][0]["reported"] == 4


def test_what_a_deposed_leader_unmasked_is_let_go(rehearsal: Any, cohort: Any, walked: Any, held: list[Work]) -> None:
    walked(cohort.begin(4))
    rehearsal.service.coordinator._leader._leadership.release()
    held.pop()()
    assert num_sums(rehearsal) == 0
    assert stages(rehearsal) == [("unmasking", None)]
    assert tick(rehearsal)  # it leads again, in a new epoch, and still has the key
    held.pop()()
    assert stages(rehearsal) == [("done", None)]


def test_what_is_unmasked_of_a_round_that_ended_is_let_go(
    rehearsal: Any, cohort: Any, walked: Any, held: list[Work]
) -> None:
    walked(cohort.begin(4))
    rehearsal.create_task(cohort.plan)
    assert stages(rehearsal) == [("failed", "round_over")]
    held.pop()()
    assert stages(rehearsal) == [("failed", "round_over")]
    assert num_sums(rehearsal) == 0


def test_after_a_database_failure_it_is_tried_again(
    rehearsal: Any, cohort: Any, walked: Any, held: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("INSERT", {}, OSError("disk full"))

    walked(cohort.begin(4))
    with monkeypatch.context() as patched:
        patched.setattr(leading, "store_sum", fail)
        held.pop()()
    with pytest.raises(OperationalError):
        tick(rehearsal)
    assert tick(rehearsal)
    held.pop()()
    assert stages(rehearsal) == [("done", None)]
