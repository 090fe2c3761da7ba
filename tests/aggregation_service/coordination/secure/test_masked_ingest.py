"""Masked inputs that come at once: each is in the sum exactly once, however often it is sent."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from aggregation_service.storage import masked_sums as stored_sums
from aggregation_service.storage.tables import masked_sums, secure_groups, secure_messages
from protocol.weights import flatten

LARGE = {"min_members": 6, "max_members": 8}


def masked_messages(cohort: Any, walked: Any) -> tuple[list[Any], list[bytes]]:
    devices = cohort.begin(8, secure=LARGE)
    walked(devices, until=2)
    messages = [device.message(device.get().data) for device in devices]
    return devices, messages


def finish(devices: list[Any], walked: Any) -> None:
    for device in devices:
        device.at = 3
    walked(devices)


def assert_mean_is_true(rehearsal: Any, cohort: Any, devices: Any) -> None:
    expected = np.mean([device.update for device in devices], axis=0)
    change = rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors)
    assert np.linalg.norm(change - expected) <= np.sqrt(37) / cohort.plan.quantiser.scale + 1e-6


def test_inputs_that_come_at_once_and_twice_are_added_once(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices, messages = masked_messages(cohort, walked)
    jobs = [(device, message) for device, message in zip(devices, messages, strict=True) for _ in range(2)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        responses = list(pool.map(lambda job: job[0].put(job[1], "masked-input"), jobs))
    assert {response.status_code for response in responses} == {204}
    with rehearsal.service.database.read() as connection:
        assert connection.scalar(select(secure_groups.c.masked)) == 8
    finish(devices, walked)
    assert_mean_is_true(rehearsal, cohort, devices)


def test_two_inputs_of_one_member_at_once_are_one(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices, messages = masked_messages(cohort, walked)
    for device, message in zip(devices[1:], messages[1:], strict=True):
        assert device.put(message).status_code == 204
    other = messages[0][:-1] + bytes([messages[0][-1] ^ 1])
    with ThreadPoolExecutor(2) as pool:
        statuses = [job.status_code for job in pool.map(devices[0].put, (messages[0], other))]
    assert statuses in ([204, 400], [204, 409])
    finish(devices, walked)
    assert_mean_is_true(rehearsal, cohort, devices)


def test_a_commit_that_fails_leaves_no_trace_and_may_be_tried_again(
    rehearsal: Any, cohort: Any, walked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, messages = masked_messages(cohort, walked)
    assert devices[0].put(messages[0]).status_code == 204

    def fail(*_arguments: object) -> None:
        raise OperationalError("INSERT", {}, Exception("the disk is full"))

    monkeypatch.setattr(stored_sums, "put", fail)
    refused = devices[1].put(messages[1])
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    monkeypatch.undo()
    with rehearsal.service.database.read() as connection:
        sent = connection.execute(select(secure_messages).where(secure_messages.c.stage == "masking")).all()
        assert len(sent) == len(connection.execute(select(masked_sums)).all()) == 1
    for device, message in zip(devices[1:], messages[1:], strict=True):
        assert device.put(message).status_code == 204
    finish(devices, walked)
    assert_mean_is_true(rehearsal, cohort, devices)
