"""Rounds that keep each update: the model moves by the robust average of what was acknowledged, or not at all."""

from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select, update

from aggregation_service import operations
from aggregation_service.operations.evaluations import EvaluationSettings
from aggregation_service.rounds.combining import Combining, Median, RobustRule, TrimmedMean
from aggregation_service.storage.tables import assignments, partial_sums, rounds
from protocol.arrays import FloatArray
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums
from protocol.messages import Selected
from protocol.update import encode_update
from protocol.weights import flatten

DEVICES = 11
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
"""For what does not depend on the database; the others run on PostgreSQL, too."""


def grid_updates(rehearsal: Any, count: int = DEVICES) -> FloatArray:
    """Honest ones: multiples of 2^-10 about a common one, far below the clipping norm of 1."""
    generator: np.random.Generator = rehearsal.generator
    drift = generator.integers(-8, 9, 37)
    return ((drift + generator.integers(-3, 4, (count, 37))) / 1024).astype(np.float32)


def start(rehearsal: Any, plan: Any, combining: Combining) -> FloatArray:
    """Creates the task; returns the weights that it starts from."""
    initial: FloatArray = flatten(rehearsal.create_task(plan, minimum_reports=3, combining=combining), plan.tensors)
    return initial


def phases(rehearsal: Any) -> list[tuple[str, str | None]]:
    return [(entry["phase"], entry["abandoned_because"]) for entry in rehearsal.summary()["rounds"]]


def change_kept(rehearsal: Any, change: str) -> None:
    """What somebody who can write to the database may try on the first kept update."""
    with rehearsal.service.database.write() as connection:
        kept = connection.execute(select(partial_sums).order_by(partial_sums.c.worker_id)).all()
        row = partial_sums.c.worker_id == kept[0].worker_id
        if change == "missing":
            connection.execute(partial_sums.delete().where(row))
        elif change == "doubled":
            connection.execute(partial_sums.insert().values({**kept[0]._mapping, "worker_id": "e" * 32}))
        elif change == "damaged":
            connection.execute(update(partial_sums).where(row).values(sealed=bytes(kept[0].sealed)[:-1] + b"?"))
        elif change == "moved":
            connection.execute(update(partial_sums).where(row).values(sealed=kept[1].sealed))
        elif change == "other part":
            connection.execute(update(partial_sums).where(row).values(part=1))


@ON_SQLITE
@pytest.mark.parametrize("rule", [Median(), TrimmedMean(trim=0.1)])
def test_one_boosted_device_of_eleven_changes_next_to_nothing(rehearsal: Any, plans: Any, rule: RobustRule) -> None:
    """By the mean it carries the model away, although it is clipped; by the rule it stays between honest ones."""
    initial = start(rehearsal, plans(goal=DEVICES), rule)
    honest = grid_updates(rehearsal)
    sent = honest.copy()
    sent[4] = -1e5 * honest[4] / np.linalg.norm(honest[4])
    for values in sent:
        rehearsal.report(rehearsal.select(), values)
    assert phases(rehearsal) == [("closed", None)]
    received = sent.copy()
    received[4] *= (1 - 2.0**-50) / np.linalg.norm(sent[4].astype(np.float64))  # clipped to 1
    version, weights = rehearsal.weights()
    expected = initial + rule.combine(received)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-6)
    others = np.delete(honest, 4, axis=0)
    moved = weights - initial
    assert version == 1
    assert (moved >= others.min(axis=0) - 1e-6).all()
    assert (moved <= others.max(axis=0) + 1e-6).all()
    truth = others.mean(axis=0)
    carried_away = np.linalg.norm(received.mean(axis=0) - truth)
    assert np.linalg.norm(moved - truth) < carried_away / 5


def test_the_median_of_honest_devices_is_exact_and_its_updates_are_gone(rehearsal: Any, plans: Any) -> None:
    initial = start(rehearsal, plans(goal=4), Median())
    updates = grid_updates(rehearsal, 4)
    for number, values in enumerate(updates):
        rehearsal.report(rehearsal.select(), values)
        with rehearsal.service.database.read() as connection:
            kept = connection.execute(select(partial_sums)).all()
            reported = set(connection.scalars(select(assignments.c.id).where(assignments.c.reported)))
        assert len(kept) == (number + 1) % 4
        if kept:
            assert {row.worker_id for row in kept} == reported
            assert {(row.num_updates, len(row.sealed)) for row in kept} == {(1, 48 + 4 * 37)}
            assert not any(values.tobytes()[:16] in bytes(row.sealed) for row in kept)
    expected = initial + np.median(updates.astype(np.float64), axis=0)
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))


@ON_SQLITE
def test_an_average_of_fewer_reports_than_wanted_is_not_shrunk(rehearsal: Any, plans: Any) -> None:
    """A sum is divided by the goal, as its noise must not tell how many took part; a median has neither."""
    initial = start(rehearsal, plans(goal=5), Median())
    updates = grid_updates(rehearsal, 3)
    for values in updates:
        rehearsal.report(rehearsal.select(), values)
    rehearsal.wait(2000)
    assert phases(rehearsal) == [("closed", None)]
    expected = initial + np.median(updates.astype(np.float64), axis=0)
    np.testing.assert_array_equal(rehearsal.weights()[1], expected.astype(np.float32))


@ON_SQLITE
def test_updates_in_16_bits_are_kept_as_what_they_stand_for(rehearsal: Any, plans: Any) -> None:
    initial = start(rehearsal, plans(goal=3, update_format="int16"), Median())
    updates = grid_updates(rehearsal, 3)
    for values in updates:
        assert rehearsal.put(rehearsal.select(), encode_update(values, "int16")).status_code == 200
    np.testing.assert_allclose(rehearsal.weights()[1] - initial, np.median(updates, axis=0), rtol=0, atol=1e-6)


@ON_SQLITE
@pytest.mark.parametrize("change", ["missing", "doubled", "damaged", "moved", "other part"])
def test_kept_updates_that_are_not_those_of_the_reports_have_no_result(
    rehearsal: Any, plans: Any, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    initial = start(rehearsal, plans(goal=5), Median())
    for values in grid_updates(rehearsal, 4):
        rehearsal.report(rehearsal.select(), values)
    change_kept(rehearsal, change)
    rehearsal.wait(2000)
    assert phases(rehearsal) == [("abandoned", "close_failed")]
    assert "CloseError" in caplog.text
    version, weights = rehearsal.weights()
    assert version == 0
    np.testing.assert_array_equal(weights, initial)
    with rehearsal.service.database.read() as connection:
        assert connection.execute(select(partial_sums)).all() == []


@ON_SQLITE
def test_kept_updates_whose_key_is_lost_are_deleted_unread(rehearsal: Any, plans: Any) -> None:
    start(rehearsal, plans(goal=5), Median())
    for values in grid_updates(rehearsal, 4):
        rehearsal.report(rehearsal.select(), values)
    rehearsal.restart()
    assert phases(rehearsal) == [("abandoned", "key_lost")]
    with rehearsal.service.database.read() as connection:
        assert connection.execute(select(partial_sums)).all() == []


@ON_SQLITE
def test_bad_updates_are_not_kept_and_none_is_kept_twice(rehearsal: Any, plans: Any) -> None:
    start(rehearsal, plans(goal=3), Median())
    selected: Selected = rehearsal.select()
    good = encode_update(grid_updates(rehearsal, 1)[0])
    not_finite = good[:-4] + np.array([np.nan], "<f4").tobytes()
    for body, status in ((not_finite, 422), (good[:-1], 422), (good, 200), (good, 409)):
        assert rehearsal.put(selected, body).status_code == status
    with rehearsal.service.database.read() as connection:
        assert connection.scalars(select(partial_sums.c.worker_id)).all() == [selected.assignment_id]


@ON_SQLITE
def test_an_evaluation_is_summed_whatever_the_rule_of_its_training(rehearsal: Any, plans: Any) -> None:
    start(rehearsal, plans(goal=3), Median())
    settings = EvaluationSettings(report_goal=3, minimum_reports=3)
    operations.create_evaluation(rehearsal.config, population="en-gb", settings=settings)
    for hits in (1.0, 2.0, 6.0):
        sums = EvaluationSums(ModelSums(hits, hits, 8.0), NO_MODEL, 10.0)
        rehearsal.report(rehearsal.select(), sums.to_vector())
    with rehearsal.service.database.read() as connection:
        result = msgspec.json.decode(connection.scalar(select(rounds.c.result).where(rounds.c.result.is_not(None))))
    assert (result["top1_candidate"], result["num_targets"]) == (pytest.approx(9 / 30), 30.0)
