"""Deadlines and drop-outs at each stage: the others' sum counts, or the group fails in the open."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from aggregation_service.storage.tables import (
    assignments,
    masked_sums,
    partial_sums,
    secure_groups,
    secure_messages,
)
from protocol.weights import flatten

GATHER_S, STAGE_S = 31.0, 61.0


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def groups(rehearsal: Any) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        return list(connection.execute(select(secure_groups).order_by(secure_groups.c.formed_at)))


def reported(rehearsal: Any) -> set[str]:
    with rehearsal.service.database.read() as connection:
        return set(connection.scalars(select(assignments.c.id).where(assignments.c.reported)))


def assert_nothing_is_left(rehearsal: Any) -> None:
    with rehearsal.service.database.read() as connection:
        for table in (masked_sums, partial_sums):
            assert connection.scalar(select(func.count()).select_from(table)) == 0, table
        assert not connection.scalars(
            select(secure_messages.c.content).where(secure_messages.c.content.is_not(None))
        ).all()


def assert_sum_is_true(rehearsal: Any, cohort: Any, devices: Any, goal: int) -> None:
    counted = [device for device in devices if device.selected.assignment_id in reported(rehearsal)]
    expected = sum((device.update for device in counted), np.zeros(37)) / goal
    change = rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors)
    bound = len(counted) * np.sqrt(37) / cohort.plan.quantiser.scale / goal + 1e-6
    assert np.linalg.norm(change - expected) <= bound


@pytest.mark.parametrize(("stage", "counted"), [(1, 3), (2, 3), (3, 4), (4, 4)])
def test_one_that_vanishes_is_waited_for_and_then_done_without(
    rehearsal: Any, cohort: Any, walked: Any, stage: int, counted: int
) -> None:
    devices = cohort.begin(4, goal=3, over_selection=1.33)
    walked(devices, until=stage)
    walked(devices[1:], until=stage + 1)
    if stage < 4:
        assert {device.get().status_code for device in devices[1:]} == {202}
    rehearsal.wait(STAGE_S)
    walked(devices[1:])
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"]) == ("closed", counted)
    assert_sum_is_true(rehearsal, cohort, devices, goal=3)
    assert_nothing_is_left(rehearsal)
    late = devices[0].get("roster")
    assert (late.status_code, late.json["type"]) == (410, "urn:keychorus:problem:group_ended")


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_who_comes_late_for_a_stage_is_not_in_the_group_any_more(
    rehearsal: Any, cohort: Any, walked: Any, stage: int
) -> None:
    devices = cohort.begin(4)
    walked(devices, until=stage)
    message = devices[0].message(devices[0].get().data)
    walked(devices[1:], until=stage + 1)
    rehearsal.wait(STAGE_S)
    assert devices[1].get().status_code == 200  # the next stage has begun
    name = ("shares", "masked-input", "confirmation")[stage - 1]
    assert devices[0].put(message, name).status_code == 410
    assert devices[0].get().status_code == 410


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_group_under_its_threshold_fails_in_the_open_with_nothing_learnt(
    rehearsal: Any, cohort: Any, walked: Any, stage: int
) -> None:
    devices = cohort.begin(4, goal=3, over_selection=1.33, minimum_reports=3)
    walked(devices, until=stage)
    walked(devices[3:], until=stage + 1)
    rehearsal.wait(STAGE_S)
    rehearsal.summary()
    (group,) = groups(rehearsal)
    assert (group.stage, group.failed_because) == ("failed", "too_few")
    assert group.detail
    assert_nothing_is_left(rehearsal)
    for device in devices:
        assert device.get("roster").status_code == 410
    rehearsal.wait(1300)
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"], entry["abandoned_because"]) == ("abandoned", 0, "too_few_reports")
    assert reported(rehearsal) == set()


def test_a_cohort_larger_than_a_group_is_several_whose_sums_are_added(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(12)
    walked(devices)
    assert [(group.stage, group.members) for group in groups(rehearsal)] == [("done", 4)] * 3
    assert_sum_is_true(rehearsal, cohort, devices, goal=12)


def test_a_group_walks_on_while_others_still_train(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(8)
    walked(devices[:4])
    assert rehearsal.summary()["rounds"][0]["reported"] == 4
    walked(devices[4:])
    assert rehearsal.summary()["rounds"][0]["phase"] == "closed"
    assert_sum_is_true(rehearsal, cohort, devices, goal=8)


def test_a_failed_group_does_not_stop_the_others(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(8, goal=4, over_selection=2.0)
    walked(devices[:4], until=2)
    rehearsal.wait(STAGE_S)  # nobody sent its input
    assert devices[0].get().status_code == 410
    walked(devices[4:])
    assert [group.stage for group in groups(rehearsal)] == ["failed", "done"]
    assert rehearsal.summary()["rounds"][0]["phase"] == "closed"
    assert_sum_is_true(rehearsal, cohort, devices, goal=4)


def test_fewer_than_a_group_wait_until_others_come_or_the_round_ends(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(3, goal=5)
    walked(devices, until=1)
    rehearsal.wait(GATHER_S)
    assert devices[0].get().status_code == 202  # none of three would be safe, if one of them may drop out
    devices.append(cohort.join())
    walked(devices)
    rehearsal.wait(1300)
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"]) == ("closed", 4)
    assert_sum_is_true(rehearsal, cohort, devices, goal=5)


def test_who_waits_for_a_group_when_the_round_ends_is_told_so(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(2, goal=4)
    walked(devices, until=1)
    rehearsal.wait(1300)
    assert devices[0].get().status_code == 410


def test_a_group_under_way_at_the_deadline_still_counts(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4, goal=5, secure={"max_members": 5})
    rehearsal.wait(1195)
    walked(devices, until=1)
    rehearsal.wait(6)  # the deadline: nobody else can come, so these are a group
    walked(devices, until=2)
    rehearsal.wait(50)
    late = cohort.rehearsal.post_check_in()
    assert late.reason == "cohort_full"
    walked(devices)
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"]) == ("closed", 4)
    assert_sum_is_true(rehearsal, cohort, devices, goal=5)


def test_keys_after_the_deadline_are_too_late(rehearsal: Any, cohort: Any) -> None:
    device = cohort.begin(4)[0]
    rehearsal.wait(1300)
    response = device.put(device.message(b""))
    assert (response.status_code, response.json["type"]) == (410, "urn:keychorus:problem:group_ended")


def test_groups_under_way_when_the_goal_is_reached_fail_in_the_open(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(8, goal=4, over_selection=2.0)
    walked(devices[4:], until=2)
    walked(devices[:4])
    assert {(group.stage, group.failed_because) for group in groups(rehearsal)} == {
        ("done", None),
        ("failed", "round_over"),
    }
    assert devices[4].get().status_code == 410
    assert_sum_is_true(rehearsal, cohort, devices, goal=4)
    assert_nothing_is_left(rehearsal)


def is_open(entry: dict[str, Any]) -> bool:
    return entry["phase"] not in {"closed", "abandoned"}


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(num_devices=st.integers(4, 9), chance=st.sampled_from([0.02, 0.1, 0.3]), seed=st.integers(0, 2**32))
def test_whoever_drops_out_wherever_the_sum_is_that_of_those_who_count(
    rehearsal: Any, cohort: Any, num_devices: int, chance: float, seed: int
) -> None:
    source = random.Random(seed)
    num_rounds = len(rehearsal.summary()["rounds"])
    devices = cohort.begin(num_devices)
    active = list(devices)
    while len(rehearsal.summary()["rounds"]) == num_rounds or is_open(rehearsal.summary()["rounds"][-1]):
        active = [device for device in active if not device.is_done and source.random() > chance]
        source.shuffle(active)
        active = [device for device in active if device.step().status_code != 410]
        rehearsal.wait(source.choice([0, 2, 40]) if active else 300)
    entry = rehearsal.summary()["rounds"][-1]
    mine = {device.selected.assignment_id for device in devices} & reported(rehearsal)
    assert len(mine) == entry["reported"]
    if entry["phase"] == "closed":
        assert entry["reported"] >= 3
        assert_sum_is_true(rehearsal, cohort, devices, goal=num_devices)
    assert_nothing_is_left(rehearsal)
