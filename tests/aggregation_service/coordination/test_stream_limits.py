"""What bounds a stream's cost: who is selected, what the ledger says of who was, and the budget."""

from itertools import pairwise
from typing import Any

import pytest
from noisy_rounds import (
    BUFFERED,
    POPULATION,
    TREE,
    create,
    events_of,
    outcomes,
    run_round,
    steps_of,
    stream_events,
    task_of,
)

from aggregation_service import operations
from aggregation_service.coordination.noise import costliest_release, stream_step
from aggregation_service.operations import EvaluationSettings
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import CorrelatedSumReleased, GaussianSumReleased, LedgerEvent
from aggregation_service.privacy.mechanisms.parameters import Mechanism
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.storage import books, models
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums
from protocol.messages import ComeBack, Selected

DELTA = 1e-10
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
"""For what does not depend on the database; the others run on PostgreSQL, too."""


def refused(rehearsal: Any, device_id: str) -> bool:
    """Whether the device is told to keep its separation; it is free otherwise, and its place is not used."""
    answer = rehearsal.post_check_in(device_id)
    assert isinstance(answer, ComeBack)
    return answer.reason == "minimum_separation"


def test_a_device_stays_away_for_so_many_rounds_and_comes_so_often(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans, BUFFERED, goal=1, separation_rounds=3, max_participations=2)
    device_id = rehearsal.enrol()
    run_round(rehearsal, [device_id])
    for _ in range(2):
        assert refused(rehearsal, device_id)
        run_round(rehearsal, [None])
    run_round(rehearsal, [device_id])
    for _ in range(4):
        assert refused(rehearsal, device_id)
        run_round(rehearsal, [None])
    told = [(event.stream_participations, event.min_separation) for event in stream_events(rehearsal)]
    assert told == [(1, 1)] * 3 + [(2, 3)] * 5
    assert {event.max_participations for event in stream_events(rehearsal)} == {1, 2}
    create(rehearsal, plans, BUFFERED, goal=1)
    run_round(rehearsal, [device_id])  # another stream


@ON_SQLITE
@pytest.mark.parametrize(("separation", "limit"), [(1, 0), (2, 0), (2, 3)])
def test_the_ledger_tells_what_was_observed_and_the_budget_foresaw_no_less(
    rehearsal: Any, plans: Any, separation: int, limit: int
) -> None:
    """Devices come as they like; counts and gaps are kept here by hand."""
    create(rehearsal, plans, BUFFERED, goal=1, separation_rounds=separation, max_participations=limit)
    task, rounds_of = task_of(rehearsal), dict[str, list[int]]()
    regulars = [rehearsal.enrol() for _ in range(4)]
    step = 0
    while step < 12:
        device_id = (
            regulars[rehearsal.generator.integers(4)] if rehearsal.generator.random() < 0.8 else rehearsal.enrol()
        )
        with rehearsal.service.database.read() as connection:
            events = books.list_events(connection, POPULATION)
            most = books.max_participations(connection, POPULATION)
            foreseen = costliest_release(connection, task, events, most + 1)
        answer = rehearsal.post_check_in(device_id)
        history = rounds_of.setdefault(device_id, [])
        allowed = (not history or step - history[-1] >= separation) and not (limit and len(history) >= limit)
        assert isinstance(answer, Selected) == allowed
        if not allowed:
            continue
        rehearsal.report(answer, rehearsal.update())
        history.append(step)
        after = stream_events(rehearsal)
        gaps = [later - earlier for seen in rounds_of.values() for earlier, later in pairwise(seen)]
        assert after[-1].step == step
        assert after[-1].stream_participations == max(map(len, rounds_of.values()))
        assert after[-1].min_separation == min(gaps, default=1)
        spent = spent_on_worst_device(after, DELTA).epsilon
        assert spent <= spent_on_worst_device([*events, foreseen], DELTA).epsilon
        step += 1
    assert stream_step(events_of(rehearsal), task.id) == step


@ON_SQLITE
@pytest.mark.parametrize(("mechanism", "rounds"), [(BUFFERED, 4), (BUFFERED, 1), (TREE, 5)])
def test_a_budget_is_kept_to_from_the_beginning(rehearsal: Any, plans: Any, mechanism: Mechanism, rounds: int) -> None:
    """As planned for so many rounds of one device two rounds apart: so many are made, and what they cost is within."""
    create(rehearsal, plans, mechanism, goal=1, separation_rounds=2)
    task = task_of(rehearsal)
    noise = sum_noise(task.plan, task.parameters)
    planned: list[LedgerEvent] = []
    for step in range(rounds):
        multiplier, norm = noise.in_stream(mechanism, step + 1)
        planned.append(
            CorrelatedSumReleased(
                round_id="1" * 32,
                task_id=task.id,
                model_version=step,
                step=step,
                mechanism=mechanism,
                num_reports=1,
                max_participations=step // 2 + 1,
                stream_participations=step // 2 + 1,
                min_separation=2 if step >= 2 else 1,
                noise_multiplier=multiplier,
                l2_clip_norm=norm,
            )
        )
    budget = spent_on_worst_device(planned, DELTA).epsilon * (1 + 1e-9)
    with rehearsal.service.database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(epsilon_budget=budget))
    device_id, made = rehearsal.enrol(), 0
    while made < 10:
        answer = rehearsal.post_check_in(device_id)
        if isinstance(answer, ComeBack) and answer.reason == "minimum_separation":
            answer = rehearsal.post_check_in()
        if isinstance(answer, ComeBack):
            assert answer.reason == "no_task"
            break
        rehearsal.report(answer, rehearsal.update())
        made += 1
    assert made == rounds
    assert spent_on_worst_device(events_of(rehearsal), DELTA).epsilon <= budget


@ON_SQLITE
def test_an_evaluation_in_between_is_no_step(rehearsal: Any, plans: Any) -> None:
    create(rehearsal, plans, BUFFERED, goal=1, separation_rounds=2)
    device_id = rehearsal.enrol()
    run_round(rehearsal, [device_id])
    operations.create_evaluation(
        rehearsal.config, population=POPULATION, settings=EvaluationSettings(report_goal=1, noise_multiplier=1e-9)
    )
    sums = EvaluationSums(ModelSums(1.0, 2.0, 8.0), NO_MODEL, 10.0)
    rehearsal.report(rehearsal.select(device_id), sums.to_vector())
    assert isinstance(events_of(rehearsal)[-1], GaussianSumReleased)
    run_round(rehearsal, [None])
    assert steps_of(rehearsal) == [0, 1]
    assert outcomes(rehearsal) == ["closed"] * 3
