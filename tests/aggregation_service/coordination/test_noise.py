"""Rounds with every mechanism, against noise computed anew from the same draws; what a crash and a thief may do."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from noisy_rounds import (
    BANDED,
    BUFFERED,
    GOAL,
    TREE,
    create,
    events_of,
    expected_noise,
    outcomes,
    run_round,
    source,
    steps_of,
    task_of,
)
from sqlalchemy import Row, delete, func, select, update

from aggregation_service.coordination import closing, leading, sealed_states
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.pruning import DOWNLOADS_TAKE_S
from aggregation_service.storage import noise_streams
from aggregation_service.storage.tables import assignments, noise_states

CORRELATED = [TREE, BANDED, BUFFERED]
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
"""For what does not depend on the database; the others run on PostgreSQL, too."""


class Killed(BaseException):
    """The process dies here: nothing catches it."""


@pytest.fixture(autouse=True)
def known_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All closes draw from one source, across restarts, and so do the oracles below."""
    monkeypatch.setattr(leading, "close_round", partial(closing.close_round, random_bytes=source()))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state of a few hundred bytes lies in several rows, as one of a real model does."""
    monkeypatch.setattr(sealed_states, "PART_BYTES", 200)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("mechanism", [Independent(), *CORRELATED])
def test_the_noise_is_that_of_the_mechanism_also_after_restarts(
    rehearsal: Any, plans: Any, mechanism: Mechanism
) -> None:
    create(rehearsal, plans, mechanism)
    found = []
    for step in range(5):
        if step in (1, 3):
            rehearsal.restart()
        found.append(run_round(rehearsal))
    expected = expected_noise(task_of(rehearsal), 5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert np.abs(expected).max(axis=1).min() > 1
    if isinstance(mechanism, Independent):
        assert all(isinstance(event, GaussianSumReleased) for event in events_of(rehearsal))
        assert rows_of(rehearsal) == []
    else:
        assert steps_of(rehearsal) == [0, 1, 2, 3, 4]
        assert len(rows_of(rehearsal)) > 1


@pytest.mark.parametrize("death", [OSError("no space left on device"), Killed()])
def test_a_death_between_books_and_checkpoint_spends_the_step(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch, death: BaseException
) -> None:
    """The next release has the noise of the step after: what the lost one added is taken back all the same."""
    create(rehearsal, plans, BUFFERED)
    found = [run_round(rehearsal)]

    def die(*_arguments: object) -> None:
        raise death

    with monkeypatch.context() as broken:
        broken.setattr(closing, "_next_checkpoint", die)
        cohort = [rehearsal.select() for _ in range(GOAL)]
        rehearsal.report(cohort[0], rehearsal.update())
        if isinstance(death, Killed):
            with pytest.raises(Killed):
                rehearsal.report(cohort[1], rehearsal.update())
        else:
            rehearsal.report(cohort[1], rehearsal.update())
    assert steps_of(rehearsal) == [0, 1]
    assert rehearsal.weights()[0] == 1
    rehearsal.restart()
    found += [run_round(rehearsal) for _ in range(2)]
    assert steps_of(rehearsal) == [0, 1, 2, 3]
    assert outcomes(rehearsal)[0] == "closed"
    assert outcomes(rehearsal)[1] in {"close_failed", "key_lost"}
    expected = np.delete(expected_noise(task_of(rehearsal), 4), 1, axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_death_before_the_books_leaves_the_step_to_be_made(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was released with its draws, which nobody knows any more; participations are not counted twice."""
    create(rehearsal, plans, BUFFERED)
    run_round(rehearsal)

    def fail(*_arguments: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(noise_streams, "put_state", fail)
        for selected in [rehearsal.select() for _ in range(GOAL)]:
            rehearsal.report(selected, rehearsal.update())
    assert steps_of(rehearsal) == [0]
    run_round(rehearsal)
    assert steps_of(rehearsal) == [0, 1]
    assert outcomes(rehearsal) == ["closed", "close_failed", "closed"]
    with rehearsal.service.database.read() as connection:
        assert noise_streams.observed(connection, task_of(rehearsal).id) == (1, None)


def tamper(rehearsal: Any, change: str, older: Sequence[Row[Any]], foreign: Sequence[Row[Any]]) -> None:
    """What somebody who can write to the database may try on a stream's state."""
    newest, task_id = rows_of(rehearsal), task_of(rehearsal).id
    with rehearsal.service.database.write() as connection:
        first = (noise_states.c.task_id == task_id) & (noise_states.c.part == 0)
        if change == "damaged":
            sealed = bytes(newest[0].sealed)
            connection.execute(update(noise_states).where(first).values(sealed=sealed[:-1] + bytes([sealed[-1] ^ 1])))
        elif change == "cut":
            connection.execute(delete(noise_states).where(noise_states.c.part == newest[-1].part))
        elif change == "gone":
            connection.execute(delete(noise_states))
        elif change == "another number":
            connection.execute(update(noise_states).values(step=1))
        else:
            rows = {"older": older, "another task's": foreign}[change]
            connection.execute(delete(noise_states))
            connection.execute(noise_states.insert(), [{**row._mapping, "task_id": task_id} for row in rows])


@ON_SQLITE
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", ["damaged", "cut", "gone", "another number", "older", "another task's"])
def test_a_state_that_is_not_the_streams_own_and_newest_ends_the_round(
    rehearsal: Any, plans: Any, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    create(rehearsal, plans, BUFFERED)
    for _ in range(2):
        run_round(rehearsal)
    foreign = rows_of(rehearsal)
    create(rehearsal, plans, BUFFERED)
    rehearsal.wait(DOWNLOADS_TAKE_S + 1)
    assert rehearsal.service.coordinator.tick()
    run_round(rehearsal)
    older = rows_of(rehearsal)
    assert {row.task_id for row in older} == {task_of(rehearsal).id}, "of tasks that ended no state is kept"
    run_round(rehearsal)
    before, events = rehearsal.weights(), events_of(rehearsal)
    tamper(rehearsal, change, older, foreign)
    for selected in [rehearsal.select() for _ in range(GOAL)]:
        rehearsal.report(selected, rehearsal.update())
    assert outcomes(rehearsal)[-1] == "close_failed"
    assert "BrokenStream" in caplog.text
    assert events_of(rehearsal) == events
    assert rehearsal.weights()[0] == before[0]
    create(rehearsal, plans, BUFFERED)  # which has a stream of its own
    run_round(rehearsal)
    assert outcomes(rehearsal)[-1] == "closed"


@ON_SQLITE
def test_whose_reports_are_in_the_sum_must_be_known(rehearsal: Any, plans: Any, caplog: Any) -> None:
    create(rehearsal, plans, BANDED)
    cohort = [rehearsal.select() for _ in range(GOAL)]
    rehearsal.report(cohort[0], rehearsal.update())
    with rehearsal.service.database.write() as connection:
        named = assignments.c.id == cohort[0].assignment_id
        connection.execute(update(assignments).where(named).values(reported=False))
    rehearsal.report(cohort[1], rehearsal.update())
    assert "assignments must name 2 devices that reported, got 1" in caplog.text
    assert outcomes(rehearsal) == ["close_failed"]
    assert events_of(rehearsal) == []


def rows_of(rehearsal: Any) -> Sequence[Row[Any]]:
    with rehearsal.service.database.read() as connection:
        return connection.execute(select(noise_states).order_by(noise_states.c.part)).all()


@ON_SQLITE
def test_a_sum_without_noise_is_itself_and_is_told_so(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=GOAL, noise=0.0), over_selection=1.0)
    np.testing.assert_allclose(run_round(rehearsal), 0, atol=1e-5)
    (event,) = events_of(rehearsal)
    assert (event.noise_multiplier, event.l2_clip_norm) == (0.0, 1.0)
    with rehearsal.service.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(noise_states)) == 0
