"""Every way in which a report can be wrong: a 4xx problem, counted, and the round stays as it was."""

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from aggregation_service.identity.caller import Caller
from protocol import routes
from protocol.messages import Problem, decode_message
from protocol.plan import Plan
from protocol.update import UPDATE_MEDIA_TYPE, encode_update
from protocol.weights import flatten

Send = Callable[[Any, Any, bytes], TestResponse]
NUM_WEIGHTS = 37


def with_value(value: float) -> Callable[[bytes], bytes]:
    return lambda good: good[:-4] + struct.pack("<f", value)


def send_as_is(rehearsal: Any, selected: Any, body: bytes) -> TestResponse:
    response: TestResponse = rehearsal.put(selected, body)
    return response


def send_with(**headers: str) -> Send:
    return lambda rehearsal, selected, body: rehearsal.put(selected, body, **headers)


def send_without_token(rehearsal: Any, selected: Any, body: bytes) -> TestResponse:
    path = routes.report(selected.round_id, selected.assignment_id)
    headers = rehearsal.sign(rehearsal.devices[selected.assignment_id], "PUT", path, body)
    response: TestResponse = rehearsal.request("PUT", path, data=body, content_type=UPDATE_MEDIA_TYPE, headers=headers)
    return response


def send_to(round_id: str | None, assignment_id: str | None) -> Send:
    def send(rehearsal: Any, selected: Any, body: bytes) -> TestResponse:
        path = routes.report(round_id or selected.round_id, assignment_id or selected.assignment_id)
        signed = rehearsal.sign(rehearsal.devices[selected.assignment_id], "PUT", path, body)
        headers = {
            "Authorization": f"Bearer {selected.assignment_token}",
            "Content-Type": UPDATE_MEDIA_TYPE,
            **signed,
        }
        response: TestResponse = rehearsal.request("PUT", path, data=body, headers=headers)
        return response

    return send


def send_without_length(rehearsal: Any, selected: Any, body: bytes) -> TestResponse:
    """As a chunked body arrives."""
    path = routes.report(selected.round_id, selected.assignment_id)
    response: TestResponse = rehearsal.request(
        "PUT",
        path,
        input_stream=BytesIO(body),
        headers={
            "Authorization": f"Bearer {selected.assignment_token}",
            "Content-Type": UPDATE_MEDIA_TYPE,
            "Transfer-Encoding": "chunked",
            **rehearsal.sign(rehearsal.devices[selected.assignment_id], "PUT", path, body),
        },
        environ_overrides={"wsgi.input_terminated": True},
    )
    return response


def send_late(rehearsal: Any, selected: Any, body: bytes) -> TestResponse:
    rehearsal.wait(1201)
    response: TestResponse = rehearsal.put(selected, body)
    return response


def unchanged(good: bytes) -> bytes:
    return good


REFUSALS: dict[str, tuple[Send, Callable[[bytes], bytes], int, str]] = {
    "empty": (send_as_is, lambda _good: b"", 422, "malformed_update"),
    "noise": (send_as_is, lambda good: b"\x55" * len(good), 422, "malformed_update"),
    "truncated": (send_as_is, lambda good: good[:-1], 422, "malformed_update"),
    "a byte too long": (send_as_is, lambda good: good + b"\0", 422, "malformed_update"),
    "other magic": (send_as_is, lambda good: b"XXXX" + good[4:], 422, "malformed_update"),
    "other version": (send_as_is, lambda good: good[:4] + b"\2\0" + good[6:], 422, "malformed_update"),
    "other shape": (
        send_as_is,
        lambda _good: encode_update(np.zeros(NUM_WEIGHTS + 1, np.float32)),
        422,
        "malformed_update",
    ),
    "a lie about its shape": (
        send_as_is,
        lambda good: good[:8] + struct.pack("<I", NUM_WEIGHTS - 1) + good[12:],
        422,
        "malformed_update",
    ),
    "NaN": (send_as_is, with_value(float("nan")), 422, "non_finite_update"),
    "inf": (send_as_is, with_value(float("inf")), 422, "non_finite_update"),
    "-inf": (send_as_is, with_value(float("-inf")), 422, "non_finite_update"),
    "oversized": (send_as_is, lambda good: good + bytes(2000), 413, "too_large"),
    "JSON": (send_with(**{"Content-Type": "application/json"}), unchanged, 415, "wrong_media_type"),
    "without token": (send_without_token, unchanged, 401, "missing_token"),
    "basic authorisation": (send_with(Authorization="Basic YTpi"), unchanged, 401, "missing_token"),
    "wrong token": (send_with(Authorization="Bearer " + "0" * 64), unchanged, 403, "wrong_token"),
    "odd token": (send_with(Authorization="Bearer \xe9\xff"), unchanged, 403, "wrong_token"),
    "unknown round": (send_to("0" * 32, None), unchanged, 404, "unknown_assignment"),
    "unknown assignment": (send_to(None, "0" * 32), unchanged, 404, "unknown_assignment"),
    "without length": (send_without_length, unchanged, 411, "length_required"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_report_is_refused_counted_and_changes_nothing(rehearsal: Any, plan: Plan, name: str) -> None:
    send, spoil, status, kind = REFUSALS[name]
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [rehearsal.update() for _ in cohort]
    rehearsal.report(cohort[0], updates[0])
    before = rehearsal.summary()
    response = send(rehearsal, cohort[1], spoil(encode_update(updates[1])))
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    problem = decode_message(response.data, Problem)
    assert (problem.status, problem.type) == (status, f"urn:keychorus:problem:{kind}")
    after = rehearsal.summary()
    assert after["rounds"] == before["rounds"]
    with rehearsal.service.database.read() as connection:
        counted = connection.exec_driver_sql("SELECT kind, count FROM refusals").all()
    assert counted == [(kind, 1)]
    for selected, update in zip(cohort[1:], updates[1:], strict=True):
        rehearsal.report(selected, update)  # the same device may send it again, right this time
    np.testing.assert_allclose(rehearsal.weights()[1], initial + np.mean(updates, axis=0), rtol=0, atol=1e-6)


def test_a_repeated_report_counts_once(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [rehearsal.update() for _ in cohort]
    rehearsal.report(cohort[0], updates[0])
    for _ in range(3):
        assert rehearsal.put(cohort[0], encode_update(updates[0])).status_code == 409
    assert rehearsal.summary()["refusals"] == {"duplicate_report": 3}
    for selected, update in zip(cohort[1:], updates[1:], strict=True):
        rehearsal.report(selected, update)
    np.testing.assert_allclose(rehearsal.weights()[1], initial + np.mean(updates, axis=0), rtol=0, atol=1e-6)
    assert rehearsal.put(cohort[0], encode_update(updates[0])).status_code == 409


def test_after_the_goal_and_after_the_deadline_is_late(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    cohort = [rehearsal.select() for _ in range(4)]
    for selected in cohort[:3]:
        rehearsal.report(selected, rehearsal.update())
    weights = rehearsal.weights()[1]
    assert rehearsal.put(cohort[3], encode_update(rehearsal.update())).status_code == 410
    straggler = rehearsal.select()
    assert send_late(rehearsal, straggler, encode_update(rehearsal.update())).status_code == 410
    assert rehearsal.summary()["refusals"] == {"late_report": 2}
    assert (rehearsal.weights()[1] == weights).all()


def test_a_deadline_that_passes_while_the_body_is_read_is_kept(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    selected = rehearsal.select()
    coordinator = rehearsal.service.coordinator
    caller = Caller(
        device_id=rehearsal.devices[selected.assignment_id], nonce="0" * 32, expires_at=rehearsal.now + 5000
    )
    ticket = coordinator.authorise(selected.round_id, selected.assignment_id, selected.assignment_token, caller)
    rehearsal.wait(1201)
    with pytest.raises(Exception, match="the round is over") as caught:
        coordinator.report(ticket, encode_update(rehearsal.update()))
    assert caught.value.kind == "late_report"  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_body_whatever_is_more_than_a_4xx(rehearsal: Any, plan: Plan, body: bytes) -> None:
    if not rehearsal.summary()["rounds"]:
        rehearsal.create_task(plan)
        rehearsal.kept = rehearsal.select()
    assert rehearsal.put(rehearsal.kept, body).status_code == 422
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"], entry["bytes_up"]) == ("selection", 0, 0)
