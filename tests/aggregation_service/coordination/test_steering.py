"""What a process believes of a population's size, and how rarely it asks."""

from typing import Any

import pytest
from sqlalchemy import event

from aggregation_service.coordination.steering import COUNT_KEPT_S, Steering
from aggregation_service.storage import books, models
from protocol.plan import Plan

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


class StoppedClock:
    def __init__(self, now: float) -> None:
        self.at = now

    def now(self) -> float:
        return self.at


def add_devices(rehearsal: Any, first: int, count: int) -> None:
    with rehearsal.service.database.write() as connection:
        for number in range(first, first + count):
            books.note_seen(connection, POPULATION, f"{number:032x}", "test", rehearsal.now)


def test_a_population_is_counted_once_a_minute_and_what_is_met_meanwhile_is_added(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    database, clock = rehearsal.service.database, StoppedClock(rehearsal.now)
    with database.read() as connection:
        task = models.active_task(connection, POPULATION)
    assert task is not None
    steering = Steering(database, clock, lambda: 0.5)
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    add_devices(rehearsal, 0, 40)  # ten cohorts of four: gathered
    asked.clear()
    gathered = [steering.reconnect_after_s(task) for _ in range(5)]
    assert max(gathered) <= 600
    assert sum("count" in statement for statement in asked) == 1
    add_devices(rehearsal, 40, 360)
    assert steering.reconnect_after_s(task) == gathered[0]  # not known here yet
    steering.note_new_device(POPULATION)
    assert steering.reconnect_after_s(task) == pytest.approx(task.parameters.beat_s * 41 / 12)  # spread
    clock.at += COUNT_KEPT_S
    assert steering.reconnect_after_s(task) == pytest.approx(task.parameters.beat_s * 400 / 12)


def test_a_device_stays_away_for_its_minimum_separation(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(separation_s=50_000.0))
    with rehearsal.service.database.read() as connection:
        task = models.active_task(connection, POPULATION)
    assert task is not None
    steering = Steering(rehearsal.service.database, StoppedClock(rehearsal.now), lambda: 0.0)
    assert steering.reconnect_after_s(task, rehearsal.now - 10_000) == 40_000
    assert 1 <= steering.until_round_s(task) <= 10
    assert steering.without_task_s() >= 3600
