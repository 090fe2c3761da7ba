"""Whoever sends a request, the service knows who it was; and nothing that goes wrong with that stops a round."""

import secrets
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation_service import operations
from protocol import routes
from protocol.messages import CheckIn, encode_message
from protocol.plan import Plan
from protocol.signed_requests import MAX_CLOCK_SKEW_S
from protocol.update import UPDATE_MEDIA_TYPE, encode_update
from protocol.weights import flatten

POPULATION = "en-gb"
CHECK_INS = routes.check_ins(POPULATION)
DAY_S = 86_400


def kind(response: Any) -> str:
    assert response.content_type == "application/problem+json"
    told: str = response.json["type"].removeprefix("urn:keychorus:problem:")
    return told


def check_in(rehearsal: Any, device_id: str, **changes: Any) -> Any:
    return rehearsal.post(device_id, CHECK_INS, CheckIn(device_id=device_id, runtime="test", num_examples=9), **changes)


def closes(rehearsal: Any, initial: Any, cohort: list[Any], updates: list[Any]) -> None:
    """The rest of the cohort reports, and the model moves by exactly their mean."""
    for selected, update in zip(cohort, updates, strict=True):
        rehearsal.report(selected, update)
    version, weights = rehearsal.weights()
    assert version == 1
    np.testing.assert_allclose(weights, initial + np.mean(updates, axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("offset", [-MAX_CLOCK_SKEW_S, -1, 0, 1, MAX_CLOCK_SKEW_S])
def test_a_time_within_the_window_is_served(rehearsal: Any, offset: int) -> None:
    device_id = rehearsal.enrol()
    assert check_in(rehearsal, device_id, at=int(rehearsal.now) + offset).status_code == 200


@pytest.mark.parametrize("offset", [-DAY_S, -MAX_CLOCK_SKEW_S - 1, MAX_CLOCK_SKEW_S + 1, DAY_S])
def test_a_time_outside_it_is_refused_and_the_answer_tells_the_time(rehearsal: Any, offset: int) -> None:
    device_id = rehearsal.enrol()
    response = check_in(rehearsal, device_id, at=int(rehearsal.now) + offset)
    assert (response.status_code, kind(response)) == (403, "clock_skew")
    told = int(response.headers["Keychorus-Time"])
    assert check_in(rehearsal, device_id, at=told).status_code == 200


CHANGES: dict[str, Any] = {
    "method": "PUT",
    "path": routes.check_ins("en-us"),
    "body": b"{}",
    "service": Ed25519PrivateKey.generate().public_key(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_signed_for_something_else_is_refused(rehearsal: Any, name: str) -> None:
    device_id = rehearsal.enrol()
    body = encode_message(CheckIn(device_id=device_id, runtime="test", num_examples=9))
    signed = {"method": "POST", "path": CHECK_INS, "body": body} | {name: CHANGES[name]}
    headers = rehearsal.sign(device_id, **signed)
    response = rehearsal.request("POST", CHECK_INS, data=body, headers=headers, content_type="application/json")
    expected = (400, "body_digest") if name == "body" else (403, "wrong_signature")
    assert (response.status_code, kind(response)) == expected


def test_a_body_that_was_not_signed_is_refused_before_it_is_read_as_a_message(rehearsal: Any) -> None:
    headers = rehearsal.sign(rehearsal.enrol(), "POST", CHECK_INS, b"{}")
    response = rehearsal.request("POST", CHECK_INS, data=b"not JSON", headers=headers, content_type="application/json")
    assert (response.status_code, kind(response)) == (400, "body_digest")


def test_a_query_is_part_of_what_is_signed(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    body = encode_message(CheckIn(device_id=device_id, runtime="test", num_examples=9))
    for path, status in ((f"{CHECK_INS}?a=b", 200), (CHECK_INS, 403)):
        headers = rehearsal.sign(device_id, "POST", path, body)
        sent = rehearsal.request(
            "POST", f"{CHECK_INS}?a=b", data=body, headers=headers, content_type="application/json"
        )
        assert sent.status_code == status


def test_an_unsigned_request_is_refused(rehearsal: Any) -> None:
    response = rehearsal.request("POST", CHECK_INS, data=b"{}", content_type="application/json")
    assert (response.status_code, kind(response)) == (400, "malformed_message")


def test_unknown_devices_and_those_of_another_population_are_refused(rehearsal: Any) -> None:
    assert kind(check_in(rehearsal, secrets.token_hex(16))) == "unknown_device"
    device_id = rehearsal.enrol()
    operations.add_population(rehearsal.config, "en-us")
    path = routes.check_ins("en-us")
    message = CheckIn(device_id=device_id, runtime="test", num_examples=9)
    assert kind(rehearsal.post(device_id, path, message)) == "unknown_device"


def test_another_devices_key_is_refused(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    rehearsal.keys[device_id] = Ed25519PrivateKey.generate()
    assert kind(check_in(rehearsal, device_id)) == "wrong_signature"


def test_a_device_cannot_check_in_for_another(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    victim, attacker = rehearsal.enrol(), rehearsal.enrol()
    message = CheckIn(device_id=victim, runtime="test", num_examples=9)
    response = rehearsal.post(attacker, CHECK_INS, message)
    assert (response.status_code, kind(response)) == (403, "wrong_device")
    assert check_in(rehearsal, victim).json["kind"] == "selected"


def test_a_device_that_answers_for_another_changes_no_round(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [rehearsal.update() for _ in cohort]
    attacker, body = rehearsal.enrol(), encode_update(rehearsal.update())
    path = routes.report(cohort[0].round_id, cohort[0].assignment_id)
    headers = {
        "Authorization": f"Bearer {cohort[0].assignment_token}",  # even with the token, say from a leaked log
        "Content-Type": UPDATE_MEDIA_TYPE,
        **rehearsal.sign(attacker, "PUT", path, body),
    }
    response = rehearsal.request("PUT", path, data=body, headers=headers)
    assert (response.status_code, kind(response)) == (403, "wrong_device")
    closes(rehearsal, initial, cohort, updates)


def test_a_replayed_check_in_gets_no_second_assignment(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    device_id = rehearsal.enrol()
    body = encode_message(CheckIn(device_id=device_id, runtime="test", num_examples=9))
    headers = rehearsal.sign(device_id, "POST", CHECK_INS, body)
    sent = {"data": body, "headers": headers, "content_type": "application/json"}
    assert rehearsal.request("POST", CHECK_INS, **sent).json["kind"] == "selected"
    for _ in range(3):
        response = rehearsal.request("POST", CHECK_INS, **sent)
        assert (response.status_code, kind(response)) == (409, "repeated_nonce")
    assert rehearsal.summary()["rounds"][0]["selected"] == 1
    rehearsal.wait(MAX_CLOCK_SKEW_S + 1)
    assert kind(rehearsal.request("POST", CHECK_INS, **sent)) == "clock_skew"


def test_a_leader_whose_clock_is_ahead_forgets_no_nonce_that_others_would_serve(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    body = encode_message(CheckIn(device_id=device_id, runtime="test", num_examples=9))
    sent = {
        "data": body,
        "headers": rehearsal.sign(device_id, "POST", CHECK_INS, body),
        "content_type": "application/json",
    }
    assert rehearsal.request("POST", CHECK_INS, **sent).status_code == 200
    rehearsal.wait(2 * MAX_CLOCK_SKEW_S - 1)  # the leader is so far ahead
    rehearsal.service.coordinator.tick()
    rehearsal.wait(1 - 2 * MAX_CLOCK_SKEW_S)
    assert kind(rehearsal.request("POST", CHECK_INS, **sent)) == "repeated_nonce"


def test_a_nonce_serves_one_request_only_whatever_it_asks(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [rehearsal.update() for _ in cohort]
    device_id, nonce = rehearsal.devices[cohort[0].assignment_id], secrets.token_hex(16)
    assert check_in(rehearsal, device_id, nonce=nonce).status_code == 200
    path, body = routes.report(cohort[0].round_id, cohort[0].assignment_id), encode_update(updates[0])
    response = rehearsal.put(cohort[0], body, **rehearsal.sign(device_id, "PUT", path, body, nonce=nonce))
    assert (response.status_code, kind(response)) == (409, "repeated_nonce")
    closes(rehearsal, initial, cohort, updates)


def test_a_replayed_report_counts_once(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(3)]
    updates = [rehearsal.update() for _ in cohort]
    device_id = rehearsal.devices[cohort[0].assignment_id]
    path, body = routes.report(cohort[0].round_id, cohort[0].assignment_id), encode_update(updates[0])
    headers = rehearsal.sign(device_id, "PUT", path, body)
    assert rehearsal.put(cohort[0], body, **headers).status_code == 200
    for _ in range(3):
        assert rehearsal.put(cohort[0], body, **headers).status_code == 409
    for selected, update in zip(cohort[1:], updates[1:], strict=True):
        rehearsal.report(selected, update)
    np.testing.assert_allclose(rehearsal.weights()[1], initial + np.mean(updates, axis=0), rtol=0, atol=1e-6)


def test_a_device_revoked_in_mid_round_cannot_report_and_the_round_goes_on(rehearsal: Any, plan: Plan) -> None:
    initial = flatten(rehearsal.create_task(plan), plan.tensors)
    cohort = [rehearsal.select() for _ in range(4)]
    updates = [rehearsal.update() for _ in range(3)]
    revoked = rehearsal.devices[cohort[0].assignment_id]
    operations.revoke_device(rehearsal.config, POPULATION, revoked)
    response = rehearsal.put(cohort[0], encode_update(rehearsal.update()))
    assert (response.status_code, kind(response)) == (403, "revoked_device")
    assert kind(check_in(rehearsal, revoked)) == "revoked_device"
    closes(rehearsal, initial, cohort[1:], updates)


def test_refusals_name_neither_device_nor_nonce(rehearsal: Any, caplog: pytest.LogCaptureFixture) -> None:
    device_id, nonce = secrets.token_hex(16), secrets.token_hex(16)
    response = check_in(rehearsal, device_id, nonce=nonce)
    assert device_id.encode() not in response.data
    assert nonce.encode() not in response.data
    assert device_id not in caplog.text
