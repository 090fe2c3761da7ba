from typing import Any

import msgspec
import pytest

from protocol import routes
from protocol.messages import MAX_MESSAGE_BYTES, CheckIn, Problem, decode_message
from protocol.plan import Plan

POPULATION = "en-gb"
GOOD = {"protocol_version": 1, "device_id": "ab" * 16, "runtime": "test", "num_examples": 5}


@pytest.mark.parametrize(
    ("body", "media_type", "refusal"),
    [
        (b"", "application/json", (411, "length_required")),
        (b"not JSON", "application/json", (400, "malformed_message")),
        (b"\xff\xfe\x00", "application/json", (400, "malformed_message")),
        (b"[" * 60_000, "application/json", (400, "malformed_message")),
        (msgspec.json.encode({**GOOD, "text": "hello"}), "application/json", (400, "malformed_message")),
        (msgspec.json.encode({**GOOD, "num_examples": -1}), "application/json", (400, "malformed_message")),
        (msgspec.json.encode({**GOOD, "device_id": "AB" * 16}), "application/json", (400, "malformed_message")),
        (b" " * (MAX_MESSAGE_BYTES + 1), "application/json", (413, "too_large")),
        (msgspec.json.encode(GOOD), "text/plain", (415, "wrong_media_type")),
    ],
)
def test_wrong_check_ins_are_refused_and_counted(
    rehearsal: Any, plan: Plan, body: bytes, media_type: str, refusal: tuple[int, str]
) -> None:
    status, kind = refusal
    rehearsal.create_task(plan)
    path = routes.check_ins(POPULATION)
    headers = rehearsal.sign(rehearsal.enrol(GOOD["device_id"]), "POST", path, body)
    response = rehearsal.request("POST", path, data=body, content_type=media_type, headers=headers)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert b"hello" not in response.data
    assert decode_message(response.data, Problem).type.endswith(kind)
    assert rehearsal.summary()["refusals"] == {kind: 1}
    assert rehearsal.summary()["rounds"] == []


def test_a_body_shorter_than_its_length_is_refused(rehearsal: Any) -> None:
    path, body = routes.check_ins(POPULATION), msgspec.json.encode(GOOD)
    response = rehearsal.request(
        "POST",
        path,
        data=body,
        content_type="application/json",
        headers=rehearsal.sign(rehearsal.enrol(GOOD["device_id"]), "POST", path, body),
        environ_overrides={"CONTENT_LENGTH": "500"},
    )
    assert response.status_code == 400
    assert rehearsal.summary()["refusals"] == {"bad_request": 1}


@pytest.mark.parametrize("length", ["-1", "many", "1e3"])
def test_a_length_that_is_none_is_refused(rehearsal: Any, length: str) -> None:
    path, body = routes.check_ins(POPULATION), msgspec.json.encode(GOOD)
    response = rehearsal.request(
        "POST",
        path,
        data=body,
        content_type="application/json",
        headers=rehearsal.sign(rehearsal.enrol(GOOD["device_id"]), "POST", path, body),
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert response.status_code == 400  # Werkzeug takes it for an empty body


def test_an_unknown_population_is_not_made(rehearsal: Any) -> None:
    message = CheckIn(device_id="ab" * 16, runtime="test", num_examples=5)
    response = rehearsal.request(
        "POST", routes.check_ins("nowhere"), data=msgspec.json.encode(message), content_type="application/json"
    )
    assert response.status_code == 404
    assert decode_message(response.data, Problem).type == "urn:keychorus:problem:unknown_population"


def test_an_answer_with_a_token_is_kept_by_no_cache(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    message = CheckIn(device_id=rehearsal.enrol(), runtime="test", num_examples=5)
    response = rehearsal.post(message.device_id, routes.check_ins(POPULATION), message)
    assert response.json["kind"] == "selected"
    assert response.headers["Cache-Control"] == "no-store"
