"""The thread: it leads, it survives, it stops."""

import threading
import time
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from aggregation_service.app import create_app
from aggregation_service.coordination.running import LONGEST_WAIT_S, CoordinatorThread
from protocol.plan import Plan

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


class Ticks:
    """A coordinator of which the thread sees nothing but its ticks."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.outcomes = list(outcomes)
        self.done = threading.Event()
        self.count = 0

    def tick(self) -> bool:
        self.count += 1
        if not self.outcomes:
            self.done.set()
            return True
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def until(condition: Any, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_survives_whatever_fails_and_tells_an_outage_once(caplog: pytest.LogCaptureFixture) -> None:
    lost = OperationalError("SELECT", {}, OSError("connection refused"))
    ticks = Ticks(True, lost, lost, lost, False, ValueError("what is this"), True)
    thread = CoordinatorThread(ticks, poll_s=0.001, candidate_poll_s=0.001)  # type: ignore[arg-type]
    thread.start()
    assert ticks.done.wait(20)
    assert thread.silent_s < 10
    thread.stop()
    assert [record.message for record in caplog.records].count("coordinator_failed") == 2
    count = ticks.count
    time.sleep(0.02)
    assert ticks.count == count


class Stopping:
    """Stops the thread after some waits, which take no time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def is_set(self) -> bool:
        return len(self.waits) >= self.most


def test_it_tries_ever_more_seldom_while_all_fails_and_still_leads_within_seconds() -> None:
    lost = OperationalError("SELECT", {}, OSError("connection refused"))
    ticks = Ticks(True, *[lost] * 30, False, lost, True)
    thread = CoordinatorThread(ticks, poll_s=0.2, candidate_poll_s=1.0)
    stopping = Stopping(34)
    thread._stopping = stopping  # type: ignore[assignment]
    thread._run()
    assert stopping.waits == [0.2, 1.0, 2.0, *[LONGEST_WAIT_S] * 28, 1.0, 1.0, 0.2]
    assert LONGEST_WAIT_S + 1.0 < 10


def test_one_that_was_never_started_can_be_stopped() -> None:
    CoordinatorThread(Ticks()).stop()  # type: ignore[arg-type]


def test_rounds_are_made_and_closed_without_any_request(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan, minimum_reports=1)
    service = rehearsal.service
    service.thread.start()
    rehearsal.report(rehearsal.select(), rehearsal.update())
    rehearsal.wait(1201)
    until(lambda: rehearsal.weights()[0] == 1)


def test_when_a_leader_closes_another_process_leads_within_seconds(rehearsal: Any, plan: Plan) -> None:
    other = create_app(rehearsal.config).extensions["keychorus"]
    other.thread.start()
    assert (rehearsal.service.coordinator.leads, other.coordinator.leads) == (True, False)
    began = time.monotonic()
    rehearsal.service.close()
    until(lambda: other.coordinator.leads, timeout_s=10)
    assert time.monotonic() - began < 5
    other.close()
    assert not other.coordinator.leads
