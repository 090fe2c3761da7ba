"""Two processes' worth of service on one database: they share rounds, one leads, and each can go at any time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask import Flask
from sqlalchemy import select

from aggregation_service import operations
from aggregation_service.app import create_app
from aggregation_service.identity.caller import Caller
from aggregation_service.storage import models
from aggregation_service.storage.leadership import Deposed
from aggregation_service.storage.tables import partial_sums, rounds
from protocol.messages import ComeBack, Selected
from protocol.plan import Plan
from protocol.update import encode_update
from protocol.weights import encode_checkpoint, flatten

POPULATION = "en-gb"


@pytest.fixture
def follower(rehearsal: Any) -> Iterator[Flask]:
    """A second app on the rehearsal's database; its requests go to it inside `through`."""
    app = create_app(rehearsal.config)
    yield app
    app.extensions["keychorus"].close()


@contextmanager
def through(rehearsal: Any, app: Flask) -> Iterator[None]:
    """The rehearsal's devices talk to `app` until the block ends."""
    rehearsal.apps.append(app)
    try:
        yield
    finally:
        rehearsal.apps.remove(app)


def grid_updates(rehearsal: Any, count: int) -> list[Any]:
    return [(rehearsal.generator.integers(-8, 9, 37) / 1024).astype(np.float32) for _ in range(count)]


def phases(rehearsal: Any) -> list[tuple[str, str | None]]:
    return [(entry["phase"], entry["abandoned_because"]) for entry in rehearsal.summary()["rounds"]]


def tick(app: Flask) -> bool:
    led: bool = app.extensions["keychorus"].coordinator.tick()
    return led


def test_reports_through_both_workers_are_in_one_sum(rehearsal: Any, follower: Flask, plans: Any) -> None:
    plan = plans(goal=6)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    rehearsal.service.coordinator.tick()
    updates = grid_updates(rehearsal, 6)
    for number, update in enumerate(updates):
        if number % 2:
            rehearsal.report(rehearsal.select(), update)
        else:
            with through(rehearsal, follower):
                selected = rehearsal.select()
                rehearsal.report(selected, update)
    with rehearsal.service.database.read() as connection:
        assert len(connection.scalars(select(partial_sums.c.worker_id)).all()) in (0, 2)
    assert phases(rehearsal) == [("closed", None)]
    expected = initial + sum(update.astype(np.float64) for update in updates) / 6
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))


def test_only_the_leader_makes_and_ends_rounds(rehearsal: Any, follower: Flask, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    assert not tick(follower)
    with through(rehearsal, follower):
        answer = rehearsal.post_check_in()
        assert isinstance(answer, ComeBack)
        assert answer.reason == "no_round"
        assert 1 <= answer.reconnect_after_s <= 30
        assert tick(rehearsal.apps[0])
        selected, late = rehearsal.select(), rehearsal.select()
        rehearsal.report(selected, rehearsal.update())
        assert phases(rehearsal) == [("reporting", None)]  # has its goal; the leader's next look closes it
        assert rehearsal.put(late, encode_update(rehearsal.update())).status_code == 410
        assert tick(rehearsal.apps[0])
        assert phases(rehearsal) == [("closed", None)]
    assert rehearsal.weights()[0] == 1


def test_when_the_leader_goes_its_round_without_reports_goes_on(rehearsal: Any, follower: Flask, plans: Any) -> None:
    plan = plans(goal=2)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    first = rehearsal.select()
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        updates = grid_updates(rehearsal, 2)
        rehearsal.report(first, updates[0])  # though the round has another key now
        rehearsal.report(rehearsal.select(), updates[1])
        assert phases(rehearsal) == [("closed", None)]
        expected = initial + sum(update.astype(np.float64) for update in updates) / 2
        np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))


def test_when_the_leader_goes_its_round_with_reports_is_abandoned_in_the_open(
    rehearsal: Any, follower: Flask, plan: Plan
) -> None:
    rehearsal.create_task(plan)
    cohort = [rehearsal.select() for _ in range(3)]
    with through(rehearsal, follower):
        rehearsal.report(cohort[0], rehearsal.update())
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        assert rehearsal.put(cohort[1], encode_update(rehearsal.update())).status_code == 410
        assert phases(rehearsal) == [("abandoned", "key_lost")]
        assert isinstance(rehearsal.post_check_in(), Selected)
        assert rehearsal.summary()["rounds"][1]["number"] == 2
        with rehearsal.service.database.read() as connection:
            assert connection.scalars(select(partial_sums.c.worker_id)).all() == []


def test_a_ticket_from_before_the_new_key_is_sealed_to_the_new_one(rehearsal: Any, follower: Flask, plans: Any) -> None:
    """The follower authorised a report; the leader died, and another gave the round a new key; then the body came."""
    plan = plans(goal=1)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    selected = rehearsal.select()
    device_id = rehearsal.devices[selected.assignment_id]
    caller = Caller(device_id=device_id, nonce="0" * 32, expires_at=rehearsal.now + 300)
    coordinator = follower.extensions["keychorus"].coordinator
    ticket = coordinator.authorise(selected.round_id, selected.assignment_id, selected.assignment_token, caller)
    rehearsal.service.close()
    assert tick(follower)
    (update,) = grid_updates(rehearsal, 1)
    coordinator.report(ticket, encode_update(update))
    with through(rehearsal, follower):
        assert phases(rehearsal) == [("closed", None)]
        np.testing.assert_array_equal(rehearsal.weights()[1], (initial + update.astype(np.float64)).astype(np.float32))


def test_a_deposed_leader_writes_nothing_more_and_forgets_its_keys(
    rehearsal: Any, follower: Flask, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.create_task(plan)
    cohort = [rehearsal.select() for _ in range(3)]
    for selected in cohort[:2]:
        rehearsal.report(selected, rehearsal.update())
    leader = rehearsal.service.coordinator._leader

    def deposed(_connection: object) -> None:
        raise Deposed("it does not coordinate any more")

    monkeypatch.setattr(leader._leadership, "check", deposed)
    rehearsal.report(cohort[2], rehearsal.update())  # counted, whoever leads
    assert leader._keys == {}
    assert rehearsal.weights()[0] == 0
    monkeypatch.undo()
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        assert phases(rehearsal) == [("abandoned", "key_lost")]


def test_a_lead_that_comes_back_to_the_same_process_costs_no_round(rehearsal: Any, plans: Any) -> None:
    """A database that restarts frees the lock; nobody else led meanwhile."""
    rehearsal.create_task(plans(goal=2))
    cohort = [rehearsal.select() for _ in range(2)]
    rehearsal.report(cohort[0], rehearsal.update())
    rehearsal.service.coordinator._leader._leadership.release()
    assert rehearsal.service.coordinator.tick()
    rehearsal.report(cohort[1], rehearsal.update())
    assert phases(rehearsal) == [("closed", None)]


def test_a_close_that_was_cut_short_is_abandoned_by_the_next_leader(
    rehearsal: Any, follower: Flask, plan: Plan
) -> None:
    rehearsal.create_task(plan)
    for _ in range(2):
        rehearsal.report(rehearsal.select(), rehearsal.update())
    with rehearsal.service.database.write() as connection:
        connection.execute(rounds.update().values(phase="closing", ended_at=rehearsal.now))
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        assert phases(rehearsal) == [("abandoned", "key_lost")]


@pytest.mark.parametrize("change", ["task", "checkpoint"])
def test_a_standing_round_that_is_out_of_date_is_replaced_before_anybody_sees_it(
    rehearsal: Any, plan: Plan, change: str
) -> None:
    rehearsal.create_task(plan)
    rehearsal.service.coordinator.tick()
    assert rehearsal.summary()["rounds"] == []
    if change == "task":
        rehearsal.create_task(plan)
    else:
        add_checkpoint(rehearsal, plan)
    rehearsal.select()
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["number"], entry["model_version"]) == (1, 1)


def add_checkpoint(rehearsal: Any, plan: Plan) -> None:
    weights = {spec.name: np.ones(spec.shape, np.float32) for spec in plan.tensors}
    content = encode_checkpoint(weights)
    with rehearsal.service.database.write() as connection:
        models.add_checkpoint(connection, POPULATION, content=content, optimizer_state=None, now=rehearsal.now)


def test_a_standing_round_is_as_old_as_its_first_device(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    rehearsal.service.coordinator.tick()
    rehearsal.wait(100_000)
    rehearsal.service.coordinator.tick()
    rehearsal.select()
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["opened_at"]) == ("selection", rehearsal.now)
    rehearsal.wait(601)
    assert rehearsal.summary()["rounds"][0]["phase"] == "reporting"


def test_a_second_task_ends_the_first(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    rehearsal.create_task(plan)
    with rehearsal.service.database.read() as connection:
        ended = connection.exec_driver_sql("SELECT ended_because FROM tasks ORDER BY id").all()
    assert ended == [("replaced",), (None,)]
    assert operations.current_version(rehearsal.config, POPULATION) == 1
