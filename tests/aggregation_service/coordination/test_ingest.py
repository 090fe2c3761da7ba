"""What is acknowledged is summed, exactly; whatever else happens leaves no trace."""

import gc
import random
import secrets
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from aggregation_service.clock import FileClock
from aggregation_service.coordination.coordinator import Coordinator
from aggregation_service.coordination.ingest import Ingest
from aggregation_service.coordination.tickets import Ticket
from aggregation_service.identity.caller import Caller
from aggregation_service.refusals import Refused
from aggregation_service.rounds.combining import Median
from aggregation_service.storage import partial_sums
from aggregation_service.storage.database import Database
from aggregation_service.storage.tables import assignments, participation
from protocol.arrays import FloatArray
from protocol.messages import Selected
from protocol.plan import Plan
from protocol.update import encode_update
from protocol.weights import flatten

POPULATION = "en-gb"


def caller_of(rehearsal: Any, selected: Selected) -> Caller:
    device_id = rehearsal.devices[selected.assignment_id]
    return Caller(device_id=device_id, nonce=secrets.token_hex(16), expires_at=rehearsal.now + 300)


def authorise(rehearsal: Any, selected: Selected, caller: Caller | None = None) -> Ticket:
    coordinator: Coordinator = rehearsal.service.coordinator
    caller = caller or caller_of(rehearsal, selected)
    return coordinator.authorise(selected.round_id, selected.assignment_id, selected.assignment_token, caller)


def grid_update(generator: np.random.Generator, size: int = 37) -> FloatArray:
    """Multiples of 2^-10 whose sums float64 holds exactly, in any order."""
    return (generator.integers(-8, 9, size) / 1024).astype(np.float32)


@contextmanager
def failing_writes(database: Database, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> Iterator[None]:
    """The database vanishes when a transaction ends: before it was committed, or just after."""
    write = database.write

    @contextmanager
    def vanishing() -> Iterator[Connection]:
        if committed:
            with write() as connection:
                yield connection
            raise OperationalError("COMMIT", {}, OSError("connection lost"))
        with write() as connection:
            yield connection
            raise OperationalError("COMMIT", {}, OSError("connection lost"))

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "write", lambda _self: vanishing())
        yield


@pytest.mark.parametrize("seed", range(3))
def test_the_sum_is_that_of_the_acknowledged_reports_whatever_the_schedule(
    rehearsal: Any, plans: Any, seed: int
) -> None:
    """Threads send reports once or several times, at once or late, some as the very same request, until the goal."""
    dice, generator = random.Random(seed), np.random.default_rng(seed)
    plan = plans(goal=12, clip=1.0)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(16)]
    updates = [grid_update(generator) for _ in cohort]
    callers = [caller_of(rehearsal, selected) for selected in cohort]
    sends = [index for index in range(len(cohort)) for _ in range(dice.choice([1, 1, 2, 3]))]
    dice.shuffle(sends)

    def send(index: int) -> int | str:
        again = callers[index] if index % 2 else None  # the very request once more, or a new one for the same report
        try:
            ticket = authorise(rehearsal, cohort[index], again)
            with rehearsal.service.coordinator.receiving(ticket):
                rehearsal.service.coordinator.report(ticket, encode_update(updates[index]))
        except Refused as refusal:
            return refusal.kind
        return index

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(send, sends))
    counted = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(counted) == len(set(counted)) == 12
    assert {outcome for outcome in outcomes if isinstance(outcome, str)} <= {
        "duplicate_report",
        "late_report",
        "repeated_nonce",
    }
    expected = initial + sum(updates[index].astype(np.float64) for index in counted) / 12
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"], entry["bytes_up"]) == ("closed", 12, 12 * (12 + 4 * 37))
    assert_books_match(rehearsal, {cohort[index].assignment_id for index in counted})


def assert_books_match(rehearsal: Any, reported: set[str]) -> None:
    """Assignments and participations tell of exactly these reports."""
    with rehearsal.service.database.read() as connection:
        marked = set(connection.scalars(select(assignments.c.id).where(assignments.c.reported)))
        participations = connection.scalar(select(func.sum(participation.c.reported)))
    assert marked == reported
    assert participations == len(reported)


@pytest.mark.parametrize("committed", [False, True])
def test_a_database_that_vanishes_loses_no_acknowledged_report_and_counts_none_twice(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Also if the transaction was committed, and only the answer to that got lost."""
    plan = plans(goal=3)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [grid_update(rehearsal.generator) for _ in cohort]
    rehearsal.report(cohort[0], updates[0])
    ticket = authorise(rehearsal, cohort[1])
    vanishing = failing_writes(rehearsal.service.database, monkeypatch, committed=committed)
    with vanishing, pytest.raises(Refused) as refused:
        rehearsal.service.coordinator.report(ticket, encode_update(updates[1]))
    assert refused.value.kind == "unavailable"
    assert refused.value.headers["Retry-After"]
    assert rehearsal.put(cohort[1], encode_update(updates[1])).status_code == (409 if committed else 200)
    rehearsal.report(cohort[2], updates[2])
    expected = initial + sum(update.astype(np.float64) for update in updates) / 3
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))
    assert_books_match(rehearsal, {selected.assignment_id for selected in cohort})


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("committed", [False, True])
def test_an_update_that_is_kept_is_there_once_also_if_nobody_knows_whether_it_was_committed(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Sent from several threads, again and again, through a database that vanishes once."""
    plan = plans(goal=5)
    initial = flatten(rehearsal.create_task(plan, minimum_reports=3, combining=Median()), plan.tensors)
    cohort = [rehearsal.select() for _ in range(5)]
    updates = [grid_update(rehearsal.generator) for _ in cohort]

    def send(index: int) -> int:
        response = rehearsal.put(cohort[index], encode_update(updates[index]))
        return int(response.status_code)

    with failing_writes(rehearsal.service.database, monkeypatch, committed=committed):
        assert send(0) == 503
    with rehearsal.service.database.read() as connection:
        assert len(partial_sums.list_parts(connection, cohort[0].round_id)) == int(committed)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, [0, 1, 1, 2, 3, 2, 0, 3]))
    assert sorted(answers) == [200] * (4 - committed) + [409] * (4 + committed)
    assert send(4) == 200
    expected = initial + np.median(np.array(updates, np.float64), axis=0)
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))
    assert_books_match(rehearsal, {selected.assignment_id for selected in cohort})


def test_a_failing_database_is_a_503_with_a_time_to_come_back(
    rehearsal: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.create_task(plan)
    selected = rehearsal.select()
    body = encode_update(rehearsal.update())

    def fail(*_arguments: object) -> None:
        raise OperationalError("UPDATE", {}, OSError("disk full"))

    with monkeypatch.context() as patch:
        patch.setattr(partial_sums, "put", fail)
        response = rehearsal.put(selected, body)
    assert (response.status_code, response.json["type"]) == (503, "urn:keychorus:problem:unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert rehearsal.put(selected, body).status_code == 200


def test_what_lies_in_the_database_during_a_round_is_sealed_and_gone_afterwards(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=2))
    cohort = [rehearsal.select() for _ in range(2)]
    update = rehearsal.update()
    rehearsal.report(cohort[0], update)
    with rehearsal.service.database.read() as connection:
        (place,) = partial_sums.list_parts(connection, cohort[0].round_id)
        part = partial_sums.get(connection, cohort[0].round_id, *place)
    assert (part.num_updates, len(part.sealed)) == (1, 48 + 8 * 37)
    assert update.astype(np.float64).tobytes()[:16] not in bytes(part.sealed)
    rehearsal.report(cohort[1], update)
    with rehearsal.service.database.read() as connection:
        assert partial_sums.list_parts(connection, cohort[0].round_id) == []


def test_the_memory_of_a_round_that_is_over_does_not_wait_for_the_garbage_collector(rehearsal: Any, plan: Plan) -> None:
    ingest = Ingest(rehearsal.service.database, FileClock(rehearsal.clock_path))
    rehearsal.create_task(plan)
    selected = rehearsal.select()
    with ingest.receiving(authorise(rehearsal, selected)):
        (lane,) = ingest._lanes.values()
        alive = weakref.ref(lane)
        del lane
    gc.disable()
    try:
        ingest.forget(selected.round_id)
        assert alive() is None
    finally:
        gc.enable()


def test_a_round_in_16_bits_is_the_sum_of_what_was_sent(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=2, update_format="int16")
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    updates = [rehearsal.update(norm=0.5), rehearsal.update(norm=40.0)]
    for update in updates:
        selected = rehearsal.select()
        assert rehearsal.put(selected, encode_update(update)).status_code == 422  # not the plan's format
        assert rehearsal.put(selected, encode_update(update, "int16")).status_code == 200
    expected = initial + (updates[0] + updates[1] / 40) / 2
    np.testing.assert_allclose(rehearsal.weights()[1], expected, rtol=0, atol=1e-4)
    assert rehearsal.summary()["rounds"][0]["shortened"] == 1


def test_a_device_may_not_report_for_another(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    first, second = rehearsal.select(), rehearsal.select()
    with pytest.raises(Refused) as refused:
        authorise(rehearsal, first, caller_of(rehearsal, second))
    assert refused.value.kind == "wrong_device"
    assert_books_match(rehearsal, set())
