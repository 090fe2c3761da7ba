"""Rounds whose clipping norm adapts, over real requests: what moves it, what it costs, who may not move it."""

import math
from fractions import Fraction
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from noisy_rounds import events_of, outcomes, source, task_of
from sqlalchemy import select, update

from aggregation_service import operations
from aggregation_service.coordination import closing, leading
from aggregation_service.operations.clipping import with_count_noise
from aggregation_service.operations.evaluations import EvaluationSettings
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.charges import Charge, charges
from aggregation_service.privacy.ledger import AdaptiveSumReleased
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.releases.statements import current_statement
from aggregation_service.releases.verification import check_ledger
from aggregation_service.storage import rounds as stored
from aggregation_service.storage.models import get_task
from aggregation_service.storage.tables import clipping_states, files, rounds
from protocol.arrays import FloatArray
from protocol.clipping import Clipped, clip_to_norm
from protocol.discrete_gaussian import discrete_gaussian
from protocol.manifest import decode_manifest
from protocol.messages import Selected
from protocol.plan import Plan, decode_plan
from protocol.update import encode_update
from protocol.weights import flatten

POPULATION = "en-gb"
GOAL = 4
NOISE = 2.0
COUNT_NOISE = 2.0
CLIPPING = ClippingParameters(target_quantile=0.5, learning_rate=0.5, floor=0.25, ceiling=4.0)
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
"""For what does not depend on the database; the others run on PostgreSQL, too."""


class Killed(BaseException):
    """The process dies here: nothing catches it."""


@pytest.fixture(autouse=True)
def known_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All closes draw from one source, across restarts, and so do the oracles below."""
    monkeypatch.setattr(leading, "close_round", partial(closing.close_round, random_bytes=source()))


def create(rehearsal: Any, plans: Any, **changes: Any) -> FloatArray:
    """Makes the task; returns the weights that it starts from."""
    plan = with_count_noise(plans(goal=GOAL, noise=NOISE), COUNT_NOISE)
    parameters = {"over_selection": 1.0, "adaptive_clipping": CLIPPING, **changes}
    return flatten(rehearsal.create_task(plan, **parameters), plan.tensors)


def plan_of(rehearsal: Any, selected: Selected) -> Plan:
    """What a device downloads."""
    sha256 = decode_manifest(selected.manifest.manifest).files["plan"].sha256
    with rehearsal.service.database.read() as connection:
        return decode_plan(connection.scalar(select(files.c.content).where(files.c.sha256 == sha256)))


def reports(rehearsal: Any, plan: Plan, norms: list[float]) -> list[FloatArray]:
    """As devices make them, of updates as long as said."""
    privacy = plan.privacy
    return [privacy.report(clip_to_norm(rehearsal.update(norm), privacy.l2_clip_norm)) for norm in norms]


def run_round(rehearsal: Any, norms: list[float]) -> tuple[Plan, list[FloatArray]]:
    """One round; returns its plan, and what was reported."""
    cohort = [rehearsal.select() for _ in norms]
    plan = plan_of(rehearsal, cohort[0])
    sent = reports(rehearsal, plan, norms)
    for selected, report in zip(cohort, sent, strict=True):
        rehearsal.report(selected, report)
    return plan, sent


def next_norm(rehearsal: Any) -> float:
    with rehearsal.service.database.read() as connection:
        state = msgspec.json.decode(connection.scalar(select(clipping_states.c.state)))
    norm: float = state["l2_clip_norm"]
    return norm


def noise_of(plan: Plan, parameters: Any, read: Any) -> FloatArray:
    """float64 [size + 1], from the same bytes as the service draws."""
    grid = sum_noise(plan, parameters).grid
    assert grid is not None
    return np.asarray(grid.step * discrete_gaussian(Fraction(grid.sigma), plan.update_size, read))


def moved(plan: Plan, count: float) -> float:
    """The paper's step, written once more."""
    within = min(max(0.5 + count / GOAL, 0), 1)
    norm = plan.privacy.l2_clip_norm * math.exp(-CLIPPING.learning_rate * (within - CLIPPING.target_quantile))
    return min(max(norm, CLIPPING.floor), CLIPPING.ceiling)


def test_each_round_has_the_norm_that_the_one_before_left_also_after_restarts(rehearsal: Any, plans: Any) -> None:
    """Weights and norms are those that the same draws give by hand; devices, ledger and books know one norm a round."""
    weights, read = create(rehearsal, plans).astype(np.float64), source()
    parameters, expected, seen = task_of(rehearsal).parameters, 1.0, []
    for number, norms in enumerate([[0.1] * 4, [9.0] * 4, [0.1, 9.0, 9.0, 9.0], [3.0] * 4]):
        if number in (1, 3):
            rehearsal.restart()
        plan, sent = run_round(rehearsal, norms)
        assert plan.privacy.l2_clip_norm == pytest.approx(expected, rel=1e-12)
        total = np.sum(sent, axis=0, dtype=np.float64) + noise_of(plan, parameters, read)
        weights += total[:-1] / GOAL
        np.testing.assert_allclose(rehearsal.weights()[1], weights, rtol=0, atol=1e-4)
        unit = 2 * abs(sent[0][-1])
        expected = moved(plan, total[-1] / unit)
        assert next_norm(rehearsal) == pytest.approx(expected, rel=1e-6)
        expected = next_norm(rehearsal)
        seen.append(plan.privacy.l2_clip_norm)
    assert len(set(seen)) == 4
    events = events_of(rehearsal)
    assert [event.update_clip_norm for event in events if isinstance(event, AdaptiveSumReleased)] == seen
    with rehearsal.service.database.read() as connection:
        records = stored.list_rounds(connection, POPULATION)
        assert get_task(connection, records[0].task.id).plan.privacy.l2_clip_norm == 1.0
    assert [record.task.plan.privacy.l2_clip_norm for record in records] == seen
    assert all(decode_manifest(record.manifest.manifest).files["plan"] == record.task.plan_file for record in records)


@ON_SQLITE
def test_one_event_costs_what_the_plan_says_for_update_and_bit(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans)
    for _ in range(2):
        plan, _ = run_round(rehearsal, [0.5] * GOAL)
    *_, event = events_of(rehearsal)
    assert isinstance(event, AdaptiveSumReleased)
    assert event.noise_multiplier == pytest.approx(NOISE, rel=1e-6)
    assert event.l2_clip_norm == pytest.approx(plan.privacy.report_norm, rel=1e-6)
    assert event.l2_clip_norm > plan.privacy.report_norm
    assert event.count_noise == pytest.approx(COUNT_NOISE, rel=1e-6)
    least = min(each.noise_multiplier for each in events_of(rehearsal))
    assert charges(events_of(rehearsal)) == (Charge(least, 1),)
    on_weights = event.noise_multiplier * event.l2_clip_norm / event.update_clip_norm
    assert on_weights**-2 + (2 * event.count_noise) ** -2 <= event.noise_multiplier**-2


@ON_SQLITE
def test_the_statement_says_that_the_quantile_was_released_and_which_norms_were_used(
    rehearsal: Any, plans: Any
) -> None:
    create(rehearsal, plans)
    for _ in range(3):
        run_round(rehearsal, [9.0] * GOAL)
    with rehearsal.service.database.read() as connection:
        statement = current_statement(connection, POPULATION, 1e-10)
        ledger = check_ledger(connection, POPULATION)
    norms = [event.update_clip_norm for event in ledger.events if isinstance(event, AdaptiveSumReleased)]
    assert statement is not None
    assert statement.clipping is not None
    assert (statement.clipping.least_norm, statement.clipping.largest_norm) == (min(norms), max(norms))
    assert (statement.clipping.floor, statement.clipping.ceiling) == (0.25, 4.0)
    assert (statement.clipping.rounds, statement.clipping.target_quantiles) == (3, (0.5,))
    assert [(each.kind, each.times) for each in statement.released] == [("model", 3), ("clipping_quantile", 3)]
    assert statement.released[1].noise_multiplier == pytest.approx(2 * COUNT_NOISE, rel=1e-6)
    assert len(set(statement.plan_sha256)) == 3
    assert "floating" not in statement.noise


@ON_SQLITE
@pytest.mark.parametrize(("lie", "bound"), [(-1.49, CLIPPING.ceiling), (1.49, CLIPPING.floor)])
def test_devices_that_all_lie_reach_a_bound_and_no_further(
    rehearsal: Any, plans: Any, lie: float, bound: float
) -> None:
    """The largest bits that are taken, of devices that have nothing else; a round moves the norm no further."""
    create(rehearsal, plans)
    norms = [1.0]
    for _ in range(6):
        cohort = [rehearsal.select() for _ in range(GOAL)]
        value = lie * plan_of(rehearsal, cohort[0]).privacy.bit_per_device
        for selected in cohort:
            rehearsal.report(selected, np.append(np.zeros(37, np.float32), np.float32(value)))
        norms.append(next_norm(rehearsal))
    steps = np.abs(np.diff(np.log(norms)))
    assert steps.max() <= CLIPPING.learning_rate
    assert norms[-1] == bound
    assert set(outcomes(rehearsal)) == {"closed"}
    assert {event.noise_multiplier for event in events_of(rehearsal)} != {0.0}


@ON_SQLITE
@pytest.mark.parametrize("death", [OSError("no space left on device"), Killed()])
def test_a_death_between_books_and_checkpoint_moves_the_norm_once(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch, death: BaseException
) -> None:
    create(rehearsal, plans)

    def die(*_arguments: object) -> None:
        raise death

    with monkeypatch.context() as broken:
        broken.setattr(closing, "_next_checkpoint", die)
        if isinstance(death, Killed):
            with pytest.raises(Killed):
                run_round(rehearsal, [9.0] * GOAL)
        else:
            run_round(rehearsal, [9.0] * GOAL)
    assert len(events_of(rehearsal)) == 1, "what was counted is booked"
    after = next_norm(rehearsal)
    assert after != 1.0
    rehearsal.restart()
    plan, _ = run_round(rehearsal, [9.0] * GOAL)
    assert plan.privacy.l2_clip_norm == after
    assert len(events_of(rehearsal)) == 2
    assert outcomes(rehearsal)[-1] == "closed"


@ON_SQLITE
def test_a_death_before_the_books_leaves_norm_and_ledger_as_they_were(
    rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(rehearsal, plans)
    run_round(rehearsal, [9.0] * GOAL)
    before = next_norm(rehearsal)

    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("aggregation_service.storage.books.append_event", fail)
        run_round(rehearsal, [9.0] * GOAL)
    assert (next_norm(rehearsal), len(events_of(rehearsal))) == (before, 1)
    plan, _ = run_round(rehearsal, [9.0] * GOAL)
    assert plan.privacy.l2_clip_norm == before
    assert outcomes(rehearsal) == ["closed", "close_failed", "closed"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"context": "task 99"}, "must be of task 1, got that of another task"),
        ({"l2_clip_norm": 3.0}, "the norm of task 1 must be its round's"),
        ({"l2_clip_norm": 40.0}, "the norm of a clipping state must be between 0.25 and 4.0, got 40.0"),
        ({"step": -1}, "a clipping state cannot be read"),
    ],
    ids=["another task's", "another round's", "out of bounds", "absurd"],
)
def test_a_state_that_is_not_the_round_s_own_ends_the_round_in_the_open(
    rehearsal: Any, plans: Any, caplog: pytest.LogCaptureFixture, state: dict[str, object], message: str
) -> None:
    create(rehearsal, plans)
    run_round(rehearsal, [9.0] * GOAL)
    cohort = [rehearsal.select() for _ in range(GOAL)]
    plan = plan_of(rehearsal, cohort[0])
    with rehearsal.service.database.write() as connection:
        good = msgspec.json.decode(connection.scalar(select(clipping_states.c.state)))
        connection.execute(update(clipping_states).values(state=msgspec.json.encode(good | state).decode()))
    for selected, report in zip(cohort, reports(rehearsal, plan, [0.5] * GOAL), strict=True):
        rehearsal.report(selected, report)
    assert "WrongClippingState" in caplog.text
    assert message in caplog.text
    assert len(events_of(rehearsal)) == 1
    assert outcomes(rehearsal) == ["closed", "close_failed"]
    create(rehearsal, plans)  # which has a state of its own
    run_round(rehearsal, [9.0] * GOAL)
    assert outcomes(rehearsal)[-1] == "closed"


@ON_SQLITE
def test_a_standing_round_whose_norm_has_changed_is_made_anew(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans)
    run_round(rehearsal, [9.0] * GOAL)
    rehearsal.summary()
    with rehearsal.service.database.write() as connection:
        state = msgspec.json.decode(connection.scalar(select(clipping_states.c.state))) | {"l2_clip_norm": 0.75}
        connection.execute(update(clipping_states).values(state=msgspec.json.encode(state).decode()))
        before = connection.scalar(select(rounds.c.id).where(rounds.c.phase == "selection"))
    rehearsal.summary()
    selected = rehearsal.select()
    assert selected.round_id != before
    assert plan_of(rehearsal, selected).privacy.l2_clip_norm == 0.75


@ON_SQLITE
def test_reports_without_a_bit_or_with_a_hostile_one_are_refused(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans)
    selected, zeros = rehearsal.select(), np.zeros(37, np.float32)
    assert rehearsal.put(selected, encode_update(zeros)).status_code == 422
    half = plan_of(rehearsal, selected).privacy.bit_per_device / 2
    honest = encode_update(np.append(zeros, np.float32(half)))
    for bit in (3.1 * half, -3.1 * half, 1e30, -1e30, np.inf, np.nan):
        assert rehearsal.put(selected, honest[:-4] + np.array([bit], "<f4").tobytes()).status_code == 422
    assert rehearsal.put(selected, honest).status_code == 200


@ON_SQLITE
@pytest.mark.parametrize("largest", [1e-6, 0.01, 1.0])
def test_bits_in_16_bits_a_value_are_taken_however_small_they_are(rehearsal: Any, plans: Any, largest: float) -> None:
    """The count's noise is so large, and so the bit so small, that one step of a value is more or less than it."""
    plan = with_count_noise(plans(goal=GOAL, noise=NOISE, update_format="int16"), 2e4)
    rehearsal.create_task(plan, adaptive_clipping=CLIPPING)
    spike = np.zeros(37, np.float32)
    spike[3] = largest
    for was_clipped in (False, True):
        report = plan.privacy.report(Clipped(spike, was_clipped))
        assert rehearsal.put(rehearsal.select(), encode_update(report, "int16")).status_code == 200


@ON_SQLITE
def test_an_evaluation_in_between_has_no_bit_and_leaves_the_norm_alone(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans)
    run_round(rehearsal, [9.0] * GOAL)
    before = next_norm(rehearsal)
    settings = EvaluationSettings(report_goal=1, minimum_reports=1)
    operations.create_evaluation(rehearsal.config, population=POPULATION, settings=settings)
    selected = rehearsal.select()
    plan = plan_of(rehearsal, selected)
    assert (plan.kind, plan.update_size, plan.privacy.count_noise) == ("evaluation", 7, None)
    rehearsal.report(selected, np.ones(7, np.float32))
    assert next_norm(rehearsal) == before
    plan, _ = run_round(rehearsal, [9.0] * GOAL)
    assert plan.privacy.l2_clip_norm == before
