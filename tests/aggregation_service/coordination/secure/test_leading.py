"""Several processes, one leader: inputs that came through any of them are in one sum; what dies costs what it must."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask import Flask
from sqlalchemy import select

from aggregation_service.app import create_app
from aggregation_service.privacy.ledger import CorrelatedSumReleased, GaussianSumReleased
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz
from aggregation_service.storage import books
from aggregation_service.storage.tables import masked_sums, secure_groups
from protocol.lanes import lane_dtype
from protocol.weights import flatten


@pytest.fixture
def follower(rehearsal: Any) -> Iterator[Flask]:
    """A second app on the rehearsal's database; its requests go to it inside `through`."""
    app = create_app(rehearsal.config)
    yield app
    app.extensions["keychorus"].close()


@contextmanager
def through(rehearsal: Any, app: Flask) -> Iterator[None]:
    rehearsal.apps.append(app)
    try:
        yield
    finally:
        rehearsal.apps.remove(app)


def tick(app: Flask) -> bool:
    led: bool = app.extensions["keychorus"].coordinator.tick()
    return led


def outcomes(rehearsal: Any) -> list[tuple[str, str | None]]:
    with rehearsal.service.database.read() as connection:
        found = select(secure_groups.c.stage, secure_groups.c.failed_because).order_by(secure_groups.c.formed_at)
        return [tuple(row) for row in connection.execute(found)]


def assert_mean_is_true(rehearsal: Any, cohort: Any, devices: Any) -> None:
    expected = np.mean([device.update for device in devices], axis=0)
    change = rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors)
    assert np.linalg.norm(change - expected) <= np.sqrt(37) / cohort.plan.quantiser.scale + 1e-6


def test_members_may_talk_to_any_process(rehearsal: Any, follower: Flask, cohort: Any) -> None:
    devices = cohort.begin(4)
    while not all(device.is_done for device in devices):
        for number, device in enumerate(devices):
            if device.is_done:
                continue
            if (number + device.at) % 2:
                with through(rehearsal, follower):
                    assert device.step().status_code in {200, 202, 204}
            else:
                assert device.step().status_code in {200, 202, 204}
        assert tick(rehearsal.apps[0])
    assert_mean_is_true(rehearsal, cohort, devices)


def test_each_process_has_a_sealed_sum_of_what_it_took(
    rehearsal: Any, follower: Flask, cohort: Any, walked: Any
) -> None:
    devices = cohort.begin(4)
    walked(devices, until=2)
    walked(devices[:2], until=3)
    with through(rehearsal, follower):
        walked(devices[2:3], until=3)
    with rehearsal.service.database.read() as connection:
        rows = connection.execute(select(masked_sums)).all()
    assert len({row.worker_id for row in rows}) == len(rows) == 2
    assert sorted(bin(row.members[0]).count("1") for row in rows) == [1, 2]
    walked(devices)
    assert_mean_is_true(rehearsal, cohort, devices)


def test_only_the_leader_moves_groups(rehearsal: Any, follower: Flask, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    with through(rehearsal, follower):
        for stage in range(4):
            walked(devices, until=stage + 1)
            assert {device.get().status_code for device in devices} == {202}
            assert not tick(follower)
            assert tick(rehearsal.apps[0])
        walked(devices)
        assert outcomes(rehearsal) == [("unmasking", None)]
        assert tick(rehearsal.apps[0])
        assert outcomes(rehearsal) == [("done", None)]
    assert_mean_is_true(rehearsal, cohort, devices)


@pytest.mark.parametrize("sent", [2, 3, 4])
def test_when_the_leader_goes_groups_fail_if_what_they_sealed_cannot_be_opened(
    rehearsal: Any, follower: Flask, cohort: Any, walked: Any, sent: int
) -> None:
    devices = cohort.begin(4)
    walked(devices, until=sent)
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        if sent == 2:
            walked(devices)
            assert outcomes(rehearsal) == [("done", None)]
            assert_mean_is_true(rehearsal, cohort, devices)
        else:
            assert outcomes(rehearsal) == [("failed", "key_lost")]
            assert {device.get().status_code for device in devices} == {410}


def test_a_round_with_a_groups_sum_is_abandoned_when_its_leader_goes(
    rehearsal: Any, follower: Flask, cohort: Any, walked: Any
) -> None:
    devices = cohort.begin(8)
    walked(devices[:4])
    walked(devices[4:], until=2)
    rehearsal.service.close()
    assert tick(follower)
    with through(rehearsal, follower):
        (entry,) = rehearsal.summary()["rounds"]
        assert (entry["phase"], entry["abandoned_because"]) == ("abandoned", "key_lost")
        assert outcomes(rehearsal) == [("done", None), ("failed", "key_lost")]
        assert devices[4].get().status_code == 410


def test_an_input_that_honest_members_cannot_reach_ends_the_group(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices, until=2)
    lanes = np.full(37, 2**15 - 1, lane_dtype(16))
    devices[0].stage, message = devices[0].stage.mask(devices[0].get().data, lanes)
    assert devices[0].put(message).status_code == 204
    devices[0].at += 1
    walked(devices, until=4)
    for device in devices:
        device.step()
    assert outcomes(rehearsal) == [("failed", "norm")]
    rehearsal.wait(1300)
    assert rehearsal.summary()["rounds"][0]["abandoned_because"] == "too_few_reports"


def test_the_ledger_charges_what_rounding_adds_to_the_clipping_norm(rehearsal: Any, cohort: Any, walked: Any) -> None:
    walked(cohort.begin(4, noise=0.5))
    with rehearsal.service.database.read() as connection:
        (event,) = books.list_events(connection, "en-gb")
    assert isinstance(event, GaussianSumReleased)
    assert event.secure_aggregation
    assert event.l2_clip_norm > cohort.plan.quantiser.l2_bound > cohort.plan.privacy.l2_clip_norm
    assert event.l2_clip_norm == pytest.approx(cohort.plan.quantiser.l2_bound, rel=1e-7)


def test_sums_of_groups_are_steps_of_a_stream(rehearsal: Any, cohort: Any, walked: Any) -> None:
    mechanism = BandedToeplitz(coefficients=(1.0, 0.5))
    walked(cohort.begin(4, noise=0.5, mechanism=mechanism))
    walked([cohort.join() for _ in range(4)])
    with rehearsal.service.database.read() as connection:
        events = books.list_events(connection, "en-gb")
    for step, event in enumerate(events):
        assert isinstance(event, CorrelatedSumReleased)
        assert (event.step, event.num_reports, event.stream_participations) == (step, 4, 1)
        assert event.secure_aggregation
        assert event.l2_clip_norm > cohort.plan.quantiser.l2_bound
    assert len(events) == 2


def test_a_task_that_is_replaced_ends_its_groups(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices, until=3)
    rehearsal.create_task(cohort.plan)
    assert outcomes(rehearsal) == [("failed", "round_over")]
    assert devices[0].get().status_code == 410
