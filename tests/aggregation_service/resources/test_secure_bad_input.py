"""Every message of secure aggregation spoilt in every way over HTTP: a problem document, and the group goes on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from protocol.arrays import FloatArray
from protocol.secure_aggregation.messages import EncryptedShares, UnmaskingShares, decode
from protocol.weights import flatten
from tests.aggregation_service.coordination.secure.conftest import PUTS, Cohort, SecureDevice, walk

KINDS = {"malformed_message", "wrong_group_message", "changed_message", "wrong_stage", "too_large"}


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def cohort(rehearsal: Any, plans: Any) -> Cohort:
    return Cohort(rehearsal, plans)


def stages(devices: list[SecureDevice]) -> Iterator[tuple[int, bytes]]:
    """Walks a group through its session; at each stage the first member's message, before it is sent, the last to come.

    It is then sent twice, which must be welcome.
    """
    for stage in range(len(PUTS)):
        walk(devices[1:], until=stage + 1)
        good = devices[0].message(devices[0].get().data if stage else b"")
        yield stage, good
        assert devices[0].put(good).status_code in {200, 204}
        if stage < len(PUTS) - 1:  # after the last one the round is over
            assert devices[0].put(good).status_code == 204
        devices[0].sent.append(good)
        devices[0].at += 1


def refused(device: SecureDevice, body: bytes, name: str | None = None) -> bool:
    """Whether a message is answered by one of the problems that a message can have."""
    response = device.put(body, name)
    if response.status_code < 400:
        return False
    assert response.status_code < 500, response.data
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    assert response.json["type"].rpartition(":")[2] in KINDS, response.json
    return True


def assert_result_is_true(cohort: Cohort, devices: list[SecureDevice], since: FloatArray | None = None) -> None:
    """The weights have changed by the mean of all updates, since the task began or since they were `since`."""
    assert cohort.plan is not None
    assert cohort.plan.quantiser is not None
    before = flatten(cohort.initial, cohort.plan.tensors) if since is None else since
    error = cohort.rehearsal.weights()[1] - before - np.mean([device.update for device in devices], axis=0)
    assert np.linalg.norm(error) <= np.sqrt(37) / cohort.plan.quantiser.scale + 1e-6


def num_shared(message: bytes, stage: int) -> int:
    """Bytes at the end that only those can judge whom they are for."""
    if PUTS[stage] == "shares":
        return len(decode(message, EncryptedShares).sealed)
    return len(decode(message, UnmaskingShares).shares) if PUTS[stage] == "unmasking" else 0


def flipped(message: bytes, places: range) -> Iterator[bytes]:
    for place in places:
        yield message[:place] + bytes([message[place] ^ 1 << place % 8]) + message[place + 1 :]


def test_truncated_messages_are_refused(cohort: Cohort) -> None:
    devices = cohort.begin(4)
    for _, good in stages(devices):
        for length in {0, 1, 2, 40, len(good) // 2, len(good) - 1}:
            assert refused(devices[0], good[:length])
        assert refused(devices[0], good + b"\0")
    assert_result_is_true(cohort, devices)


def test_messages_with_a_flipped_bit_are_refused(cohort: Cohort) -> None:
    devices = cohort.begin(4)
    for stage, good in stages(devices):
        shared = num_shared(good, stage)
        for wrong in flipped(good, range(0, len(good) - shared, 1 if shared else 7)):
            assert refused(devices[0], wrong)
    assert_result_is_true(cohort, devices)


def test_other_members_messages_are_refused(cohort: Cohort) -> None:
    devices = cohort.begin(4)
    for stage, _ in stages(devices):
        for other in devices[1:]:
            assert refused(devices[0], other.sent[stage])
    assert_result_is_true(cohort, devices)


def test_messages_of_other_stages_are_refused(cohort: Cohort) -> None:
    """Under the name of the stage that they are of, and under that of the stage that runs."""
    devices = cohort.begin(4)
    for stage, good in stages(devices):
        for device in devices:
            for name, sent in zip(PUTS[:stage], device.sent, strict=False):
                assert refused(devices[0], sent)
                assert device is devices[0] or refused(devices[0], sent, name)
        for name in PUTS[:stage] + PUTS[stage + 1 :]:
            assert refused(devices[0], good, name)
    assert_result_is_true(cohort, devices)


def test_messages_of_another_round_are_refused(cohort: Cohort) -> None:
    """All that the same device, and one beside it, said in the round before."""
    before = cohort.begin(4)
    walk(before)
    _, since = cohort.rehearsal.weights()
    assert cohort.plan is not None
    devices = [
        SecureDevice(cohort.rehearsal, cohort.plan, cohort.rehearsal.select(device.device_id), device.update)
        for device in before
    ]
    for _ in stages(devices):
        for sent in before[0].sent + before[1].sent:
            assert refused(devices[0], sent)
    assert_result_is_true(cohort, devices, since)
