"""Messages out of turn, changed, repeated or wrong: refused, and the group goes on as if they had never come."""

import secrets
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import select

from aggregation_service.storage.tables import nonces, secure_members
from protocol import routes
from protocol.plan import Plan
from protocol.secure_aggregation.messages import KeyBundle, decode, encode, sign_bundle
from protocol.update import encode_update

PUTS = ("keys", "shares", "masked-input", "confirmation", "unmasking")
GETS = ("roster", "delivery", "survivors", "confirmations")


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def kind(response: Any) -> str:
    assert response.content_type == "application/problem+json", response
    return str(response.json["type"]).rpartition(":")[2]


def test_the_same_message_again_is_welcome_and_another_is_not(cohort: Any) -> None:
    devices = cohort.begin(4)
    for stage, name in enumerate(PUTS):
        for device in devices:
            assert device.step().status_code in {200, 204}
            again = device.put(device.sent[stage], name)
            if device is devices[-1] and stage == 4:
                break  # it was the last: see test_session
            assert again.status_code == (200 if stage == 4 else 204)
            other = device.put(device.sent[stage][:-1] + bytes([device.sent[stage][-1] ^ 1]), name)
            assert (other.status_code, kind(other)) == (409, "changed_message")


def test_nothing_is_taken_or_told_before_its_turn(cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    for stage in range(5):
        walked(devices, until=stage)
        for name in PUTS[stage + 1 :]:
            early = devices[0].put(b"x", name)
            assert (early.status_code, kind(early)) == (409, "wrong_stage"), name
        for name in GETS[stage:]:
            early = devices[0].get(name)
            assert (early.status_code, kind(early)) == (409, "wrong_stage"), name


def test_who_waits_is_told_when_to_ask_again(cohort: Any) -> None:
    devices = cohort.begin(4, poll_s=7)
    for stage in range(4):
        taken = devices[0].step()
        assert (taken.status_code, taken.data, taken.headers["Retry-After"]) == (204, b"", "7"), stage
        waiting = devices[0].get()
        assert (waiting.status_code, waiting.data, waiting.headers["Retry-After"]) == (202, b"", "7"), stage
        for device in devices[1:]:
            device.step()


def test_what_is_told_is_told_again_but_kept_by_nobody(cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices, until=1)
    first, second = devices[0].get("roster"), devices[0].get("roster")
    assert first.data == second.data
    assert first.headers["Cache-Control"] == "no-store"
    assert first.content_type == "application/vnd.keychorus.secure-aggregation"
    walked(devices)


def flipped(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


SPOILT = [lambda _: b"", lambda good: good[:-1], lambda good: good + b"\0", flipped]


def test_a_spoilt_message_changes_nothing(cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    for stage in range(5):
        walked(devices[1:], until=stage)
        good = devices[0].message(devices[0].get().data if stage else b"")
        for spoil in SPOILT:
            if spoil is flipped and stage in {1, 4}:
                continue  # of what others sealed, and of shares, only those who open them can judge
            response = devices[0].put(spoil(good))
            assert response.status_code in {400, 422}, (stage, response.json)
            assert kind(response) in {"malformed_message", "wrong_group_message"}
        assert devices[0].put(good).status_code in {200, 204}
        devices[0].at += 1
        if 1 <= stage < 4:
            copied = devices[1].put(good, PUTS[stage])
            assert copied.status_code in {400, 422}
        walked(devices[1:], until=stage + 1)
    assert cohort.rehearsal.weights()[0] == 1


def test_keys_are_those_of_the_device_that_sends_them(cohort: Any) -> None:
    devices = cohort.begin(4)
    devices[0].step()
    copied = devices[1].put(devices[0].sent[0])
    assert (copied.status_code, kind(copied)) == (422, "wrong_group_message")


def test_who_copies_a_key_is_put_out_and_the_others_form_a_group(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(5, goal=4, over_selection=1.25, secure={"max_members": 5})
    walked(devices[:4], until=1)
    copied = decode(devices[0].sent[0], KeyBundle)
    bundle = sign_bundle(
        devices[4].task,
        identity=rehearsal.key(devices[4].device_id),
        mask_key=copied.mask_key,
        encryption_key=secrets.token_bytes(32)[:31] + b"\0",
        self_mask_digest=bytes(32),
    )
    assert devices[4].put(encode(bundle)).status_code == 204
    rehearsal.wait(31)
    rosters = [device.get("roster").status_code for device in devices]
    assert sorted(rosters) == [200, 200, 200, 200, 409]


def test_a_plain_report_is_refused_where_the_plan_wants_secure_aggregation(rehearsal: Any, cohort: Any) -> None:
    devices = cohort.begin(4)
    response = rehearsal.put(devices[0].selected, encode_update(devices[0].update))
    assert (response.status_code, kind(response)) == (422, "wrong_aggregation")


def test_secure_aggregation_is_refused_where_the_plan_wants_plain_reports(
    rehearsal: Any, cohort: Any, plan: Plan
) -> None:
    secure = cohort.begin(4)[0]
    plain = rehearsal.create_task(plan)
    assert plain
    secure.selected = rehearsal.select()
    secure.device_id = rehearsal.devices[secure.selected.assignment_id]
    for response in (secure.put(b"x", "keys"), secure.put(b"x", "shares"), secure.get("roster")):
        assert (response.status_code, kind(response)) == (422, "wrong_aggregation")


def test_a_token_and_a_signature_are_asked_of_everybody(rehearsal: Any, cohort: Any) -> None:
    device, other = cohort.begin(4)[:2]
    device.step()
    for method, name in (("PUT", "shares"), ("GET", "roster"), ("PUT", "keys")):
        wrong = device.request(method, name, b"", Authorization="Bearer " + "0" * 64)
        assert (wrong.status_code, kind(wrong)) == (403, "wrong_token")
        path = routes.secure_aggregation(device.selected.round_id, device.selected.assignment_id, name)
        headers = {"Authorization": f"Bearer {device.selected.assignment_token}"}
        unsigned = rehearsal.request(method, path, headers=headers)
        assert (unsigned.status_code, kind(unsigned)) == (400, "malformed_message")
        forged = rehearsal.request(method, path, headers=headers | rehearsal.sign(other.device_id, method, path))
        assert (forged.status_code, kind(forged)) == (403, "wrong_device")


def test_bodies_are_bounded_by_the_plan_and_have_their_media_type(cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    assert kind(devices[0].put(bytes(5000), "keys")) == "too_large"
    walked(devices, until=2)
    assert kind(devices[0].put(bytes(5000), "masked-input")) == "too_large"
    assert kind(devices[0].request("PUT", "masked-input", b"x", **{"Content-Type": "text/plain"})) == "wrong_media_type"
    walked(devices)


def test_a_message_spends_its_nonce(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    with rehearsal.service.database.read() as connection:
        before = len(connection.execute(select(nonces)).all())
    walked(devices)
    with rehearsal.service.database.read() as connection:
        assert len(connection.execute(select(nonces)).all()) == before + 5 * 4


def test_places_tell_nothing_of_when_a_device_came(rehearsal: Any, cohort: Any, walked: Any) -> None:
    """Members are numbered by the digests of their keys, which are random."""
    walked(cohort.begin(4), until=1)
    with rehearsal.service.database.read() as connection:
        rows = connection.execute(select(secure_members.c.place)).all()
    assert sorted(row.place for row in rows) == [0, 1, 2, 3]


def test_a_receipt_says_when_to_come_back(cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices[:], until=4)
    responses = [device.step() for device in devices]
    waits = [msgspec.json.decode(response.data)["reconnect_after_s"] for response in responses]
    assert all(np.isfinite(wait) and wait > 0 for wait in waits)
