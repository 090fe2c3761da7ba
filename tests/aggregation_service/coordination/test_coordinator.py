"""Whole rounds through HTTP, against numpy."""

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Connection, func, select

from aggregation_service import operations
from aggregation_service.coordination import closing, coordinator
from aggregation_service.rounds.state import AbandonReason
from aggregation_service.storage import books
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.rounds import retire_open_round
from aggregation_service.storage.tables import assignments, checkpoints, partial_sums
from protocol import routes
from protocol.clipping import l2_norm
from protocol.manifest import check_content, decode_public_key, open_manifest
from protocol.messages import ComeBack, Selected
from protocol.plan import Plan, decode_plan
from protocol.update import encode_update, encoded_bytes
from protocol.weights import decode_checkpoint, flatten

POPULATION = "en-gb"


def phases(rehearsal: Any) -> list[tuple[str, str | None]]:
    return [(entry["phase"], entry["abandoned_because"]) for entry in rehearsal.summary()["rounds"]]


def test_a_round_without_noise_is_numpys_average(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(4)]  # 3 * 1.3, rounded up
    updates = [rehearsal.update() for _ in range(3)]
    for selected, update in zip(cohort[1:], updates, strict=True):
        rehearsal.report(selected, update)
    version, weights = rehearsal.weights()
    assert version == 1
    np.testing.assert_allclose(weights, initial + np.mean(updates, axis=0, dtype=np.float64), rtol=0, atol=1e-6)
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["selected"], entry["reported"], entry["shortened"]) == ("closed", 4, 3, 0)
    assert entry["bytes_up"] == 3 * encoded_bytes(plan.num_weights)


def test_momentum_carries_from_round_to_round(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=2)
    weights = flatten(rehearsal.create_task(plan, momentum=0.9, rate=0.5), plan.tensors).astype(np.float64)
    velocity = np.zeros(plan.num_weights)
    for _ in range(4):
        updates = [rehearsal.update() for _ in range(2)]
        for selected, update in zip([rehearsal.select(), rehearsal.select()], updates, strict=True):
            rehearsal.report(selected, update)
        velocity = 0.9 * velocity + np.mean(updates, axis=0, dtype=np.float64)
        weights = weights + 0.5 * velocity
    version, found = rehearsal.weights()
    assert version == 4
    np.testing.assert_allclose(found, weights, rtol=0, atol=1e-5)
    with rehearsal.service.database.read() as connection:
        kept = connection.scalars(select(checkpoints.c.optimizer_state).order_by(checkpoints.c.model_version)).all()
    assert [state is None for state in kept] == [True] * 4 + [False]


def test_the_noise_on_the_average_has_the_plans_deviation(rehearsal: Any, plans: Any) -> None:
    """37 weights in 10 rounds: the deviation of the steps is z * C / goal within 5 standard errors."""
    plan = plans(goal=2, noise=3.0, clip=0.5)
    rehearsal.create_task(plan)
    zero = np.zeros(plan.num_weights, np.float32)
    steps = [rehearsal.weights()[1]]
    for _ in range(10):
        for selected in [rehearsal.select(), rehearsal.select()]:
            rehearsal.report(selected, zero)
        steps.append(rehearsal.weights()[1])
    noise = np.diff(np.array(steps, np.float64), axis=0).ravel()
    assert noise.std() == pytest.approx(3.0 * 0.5 / 2, rel=5 / np.sqrt(2 * noise.size))
    spent = rehearsal.summary()
    assert spent["max_participations"] == 1
    assert spent["epsilon"] == pytest.approx(operations.privacy_statement(rehearsal.config, POPULATION).epsilon)


def test_what_a_device_gets_is_signed_complete_and_fits(rehearsal: Any, plan: Plan) -> None:
    weights = rehearsal.create_task(plan)
    selected = rehearsal.select()
    key = decode_public_key(operations.public_key(rehearsal.config))
    manifest = open_manifest(selected.manifest, key, purpose="round", population=POPULATION)
    content = {}
    for name, entry in manifest.files.items():
        response = rehearsal.request("GET", routes.file(entry.sha256))
        content[name] = check_content(response.data, entry)
    assert {"plan", "training_graph", "checkpoint"} <= set(content)
    assert decode_plan(content["plan"]) == plan
    found = decode_checkpoint(content["checkpoint"], plan.tensors)
    assert all(np.allclose(found[name], weights[name], rtol=1e-3, atol=1e-6) for name in weights)  # 16 bits are served
    assert rehearsal.select().manifest == selected.manifest  # frozen: the same bytes for the whole cohort


def test_an_update_too_long_is_shortened_and_counted(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=2, clip=0.25)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    long, short = rehearsal.update(norm=1000.0), rehearsal.update(norm=0.2)
    rehearsal.report(rehearsal.select(), long)
    rehearsal.report(rehearsal.select(), short)
    assert rehearsal.summary()["rounds"][0]["shortened"] == 1
    expected = initial + (long * (0.25 / l2_norm(long)) + short) / 2
    np.testing.assert_allclose(rehearsal.weights()[1], expected, rtol=0, atol=1e-6)


def test_a_late_round_divides_by_the_goal_and_not_by_who_came(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan, minimum_reports=1), plan.tensors)
    update = rehearsal.update()
    rehearsal.report(rehearsal.select(), update)
    rehearsal.wait(1201)
    assert phases(rehearsal) == [("closed", None)]
    np.testing.assert_allclose(rehearsal.weights()[1], initial + update / 3, rtol=0, atol=1e-6)


def test_too_few_reports_abandon_the_round_in_the_open(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan, minimum_reports=2)
    cohort = [rehearsal.select() for _ in range(4)]
    rehearsal.report(cohort[0], rehearsal.update())
    rehearsal.wait(601)
    assert phases(rehearsal) == [("abandoned", "too_few_reports")]
    assert rehearsal.weights()[0] == 0
    assert operations.privacy_statement(rehearsal.config, POPULATION) is None


def test_a_cohort_is_full_at_130_percent(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    for _ in range(4):
        rehearsal.select()
    answer = rehearsal.post_check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason == "cohort_full"
    assert 0 < answer.reconnect_after_s <= 1.11 * 600


def test_minimum_separation_is_kept_across_rounds(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1, separation_s=7200.0))
    device = secrets.token_hex(16)
    receipt = rehearsal.report(rehearsal.select(device), rehearsal.update())
    assert receipt.reconnect_after_s >= 7200
    rehearsal.wait(7199)
    answer = rehearsal.post_check_in(device)
    assert isinstance(answer, ComeBack)
    assert answer.reason == "minimum_separation"
    assert answer.reconnect_after_s >= 1
    rehearsal.wait(1)
    rehearsal.report(rehearsal.select(device), rehearsal.update())
    assert rehearsal.summary()["max_participations"] == 2


def test_a_device_is_in_a_cohort_once(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    device = secrets.token_hex(16)
    rehearsal.select(device)
    answer = rehearsal.post_check_in(device)
    assert isinstance(answer, ComeBack)
    assert answer.reason == "minimum_separation"


def test_too_few_examples_open_no_round(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan, min_examples=50)
    answer = rehearsal.post_check_in(num_examples=49)
    assert isinstance(answer, ComeBack)
    assert answer.reason == "too_few_examples"
    assert rehearsal.summary()["rounds"] == []


def test_without_a_task_devices_come_back_later(rehearsal: Any) -> None:
    answer = rehearsal.post_check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason == "no_task"
    assert answer.reconnect_after_s >= 3600


def test_a_round_that_goes_between_look_and_lock_sends_no_device_away_for_an_hour(
    rehearsal: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.create_task(plan)
    rehearsal.summary()

    def lock_late(connection: Connection, population: str) -> None:
        lock_population(connection, population)
        retire_open_round(connection, population, AbandonReason.TASK_REPLACED, rehearsal.now)

    monkeypatch.setattr(coordinator, "lock_population", lock_late)
    answer = rehearsal.post_check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason == "no_round"
    assert answer.reconnect_after_s < 3600


def test_a_fresh_process_abandons_the_round_whose_key_was_lost(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    cohort = [rehearsal.select() for _ in range(3)]
    rehearsal.report(cohort[0], rehearsal.update())
    rehearsal.restart()
    response = rehearsal.put(cohort[1], encode_update(rehearsal.update()))
    assert response.status_code == 410
    assert phases(rehearsal) == [("abandoned", "key_lost")]
    updates = [rehearsal.update() for _ in range(3)]
    before = rehearsal.weights()[1]
    for selected, update in zip([rehearsal.select() for _ in range(3)], updates, strict=True):
        rehearsal.report(selected, update)
    assert phases(rehearsal)[1:] == [("closed", None)]
    np.testing.assert_allclose(rehearsal.weights()[1], before + np.mean(updates, axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("broken", "events"), [("add_noise", 0), ("book_release", 0), ("_next_checkpoint", 1), ("add_checkpoint", 1)]
)
def test_a_close_that_fails_never_hides_what_it_spent(
    rehearsal: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch, broken: str, events: int
) -> None:
    """The ledger entry is there as soon as anything could have been released; the model is as it was."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError("no space left on device")

    rehearsal.create_task(plan)
    before = rehearsal.weights()[1]
    cohort = [rehearsal.select() for _ in range(3)]
    monkeypatch.setattr(closing, broken, fail)
    for selected in cohort:
        rehearsal.report(selected, rehearsal.update())  # each is counted, whatever becomes of the round
    monkeypatch.undo()
    assert phases(rehearsal) == [("abandoned", "close_failed")]
    with rehearsal.service.database.read() as connection:
        assert len(books.list_events(connection, POPULATION)) == events
        assert connection.scalar(select(func.count()).select_from(partial_sums)) == 0
    version, after = rehearsal.weights()
    assert version == 0
    assert (after == before).all()


def test_a_new_task_abandons_the_open_round(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    selected = rehearsal.select()
    rehearsal.create_task(plan)
    assert rehearsal.put(selected, encode_update(rehearsal.update())).status_code == 410
    assert phases(rehearsal) == [("abandoned", "task_replaced")]
    assert isinstance(rehearsal.post_check_in(), Selected)
    assert rehearsal.summary()["rounds"][1]["model_version"] == 1


def test_reports_that_come_at_once_are_each_counted_once(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=16)
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(16)]
    updates = [rehearsal.update() for _ in cohort]
    twice = [(selected, update) for selected, update in zip(cohort, updates, strict=True) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda pair: rehearsal.put(pair[0], encode_update(pair[1])).status_code, twice))
    assert statuses.count(200) == 16
    assert set(statuses) <= {200, 409, 410}
    np.testing.assert_allclose(rehearsal.weights()[1], initial + np.mean(updates, axis=0), rtol=0, atol=1e-6)


def test_tokens_are_kept_as_hashes_only(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    selected = rehearsal.select()
    with rehearsal.service.database.read() as connection:
        stored = connection.scalars(select(assignments.c.token_sha256)).all()
    assert stored == [hashlib.sha256(selected.assignment_token.encode()).digest()]


def test_the_summary_names_no_device(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    device = secrets.token_hex(16)
    selected = rehearsal.select(device)
    rehearsal.report(selected, rehearsal.update())
    text = msgspec.json.encode(rehearsal.summary()).decode()
    assert device not in text
    assert selected.assignment_id not in text
    assert selected.assignment_token not in text
