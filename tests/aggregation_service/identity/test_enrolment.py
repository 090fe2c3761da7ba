"""Whom a population takes, by its policy; and what a key, once enrolled, means for ever."""

import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation_service import operations
from aggregation_service.policy import PopulationPolicy
from aggregation_service.storage.models import set_policy
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.manifest import encode_public_key
from protocol.messages import decode_message

POPULATION = "en-gb"


def kind(response: Any) -> str:
    told: str = response.json["type"].removeprefix("urn:keychorus:problem:")
    return told


def uses_left(rehearsal: Any) -> list[int]:
    return [token.uses_left for token in operations.list_enrolment_tokens(rehearsal.config, POPULATION)]


def set_enrolment(rehearsal: Any, how: str) -> None:
    with rehearsal.service.database.write() as connection:
        set_policy(connection, POPULATION, PopulationPolicy(enrolment=how))  # type: ignore[arg-type]


def test_an_answer_repeats_what_was_enrolled_and_nothing_secret(rehearsal: Any) -> None:
    device_id = secrets.token_hex(16)
    response = rehearsal.post_enrol(device_id, token=rehearsal.token)
    public_key = encode_public_key(rehearsal.key(device_id).public_key())
    assert decode_message(response.data, Enrolled) == Enrolled(device_id=device_id, public_key=public_key)
    assert response.headers["Cache-Control"] == "no-store"
    assert operations.count_devices(rehearsal.config, POPULATION) == {"enrolled": 1, "revoked": 0}


def test_enrolling_again_is_granted_without_a_token_and_costs_no_use(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    before = uses_left(rehearsal)
    for fields in ({}, {"token": rehearsal.token}, {"token": "0" * 64}):
        assert rehearsal.post_enrol(device_id, **fields).status_code == 200
    assert uses_left(rehearsal) == before


def test_an_id_never_changes_its_key_and_the_try_costs_no_use(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    key, before = rehearsal.keys[device_id], uses_left(rehearsal)
    rehearsal.keys[device_id] = Ed25519PrivateKey.generate()
    response = rehearsal.post_enrol(device_id, token=rehearsal.token)
    assert (response.status_code, kind(response)) == (403, "wrong_device")
    rehearsal.keys[device_id] = key
    rehearsal.post_check_in(device_id)
    assert uses_left(rehearsal) == before


def test_a_key_must_be_held_by_whoever_enrols_it(rehearsal: Any) -> None:
    """Else one could take another's public key, and with it the other's standing."""
    device_id = secrets.token_hex(16)
    others = encode_public_key(Ed25519PrivateKey.generate().public_key())
    response = rehearsal.post_enrol(device_id, token=rehearsal.token, public_key=others)
    assert (response.status_code, kind(response)) == (403, "wrong_signature")


def test_a_device_cannot_enrol_another_id(rehearsal: Any) -> None:
    signer, victim = secrets.token_hex(16), secrets.token_hex(16)
    public_key = encode_public_key(rehearsal.key(signer).public_key())
    message = Enrol(device_id=victim, public_key=public_key, token=rehearsal.token)
    response = rehearsal.post(signer, routes.devices(POPULATION), message)
    assert (response.status_code, kind(response)) == (403, "wrong_device")


@pytest.mark.parametrize("fields", [{}, {"token": "0" * 64}, {"attestation": "a.b.c"}])
def test_without_a_valid_token_nobody_is_enrolled(rehearsal: Any, fields: dict[str, str]) -> None:
    response = rehearsal.post_enrol(secrets.token_hex(16), **fields)
    assert (response.status_code, kind(response)) == (403, "enrolment_refused")
    assert operations.count_devices(rehearsal.config, POPULATION) == {"enrolled": 0, "revoked": 0}


def test_used_up_expired_revoked_and_foreign_tokens_are_refused_alike(rehearsal: Any) -> None:
    operations.add_population(rehearsal.config, "en-us")
    single = operations.create_enrolment_token(rehearsal.config, POPULATION, uses=1, days=1)
    foreign = operations.create_enrolment_token(rehearsal.config, "en-us", uses=9, days=1)
    revoked = operations.create_enrolment_token(rehearsal.config, POPULATION, uses=9, days=1)
    expiring = operations.create_enrolment_token(rehearsal.config, POPULATION, uses=9, days=1)
    operations.revoke_enrolment_token(rehearsal.config, POPULATION, revoked.id)
    assert rehearsal.post_enrol(secrets.token_hex(16), token=single.token).status_code == 200
    assert rehearsal.post_enrol(secrets.token_hex(16), token=expiring.token).status_code == 200
    rehearsal.wait(86_400)
    answers = [
        rehearsal.post_enrol(secrets.token_hex(16), token=token.token).json
        for token in (single, foreign, revoked, expiring)
    ]
    assert {answer["type"] for answer in answers} == {"urn:keychorus:problem:enrolment_refused"}
    assert len({answer["detail"] for answer in answers}) == 1


def test_a_revoked_device_stays_revoked(rehearsal: Any) -> None:
    device_id = rehearsal.enrol()
    operations.revoke_device(rehearsal.config, POPULATION, device_id)
    assert kind(rehearsal.post_enrol(device_id, token=rehearsal.token)) == "revoked_device"
    with pytest.raises(operations.OperationError, match="not revoked yet"):
        operations.revoke_device(rehearsal.config, POPULATION, device_id)


@pytest.mark.parametrize("how", ["token", "open"])
def test_a_revoked_key_cannot_come_back_under_another_id(rehearsal: Any, how: str) -> None:
    set_enrolment(rehearsal, how)
    device_id, other = rehearsal.enrol(), secrets.token_hex(16)
    operations.revoke_device(rehearsal.config, POPULATION, device_id)
    rehearsal.keys[other] = rehearsal.keys[device_id]
    before = uses_left(rehearsal)
    assert kind(rehearsal.post_enrol(other, token=rehearsal.token)) == "revoked_device"
    assert uses_left(rehearsal) == before


def test_a_key_has_one_id_in_each_population(rehearsal: Any) -> None:
    operations.add_population(rehearsal.config, "en-us", PopulationPolicy(enrolment="open"))
    device_id, other = rehearsal.enrol(), secrets.token_hex(16)
    rehearsal.keys[other] = rehearsal.keys[device_id]
    assert kind(rehearsal.post_enrol(other, token=rehearsal.token)) == "wrong_device"
    message = Enrol(device_id=other, public_key=encode_public_key(rehearsal.key(other).public_key()))
    assert rehearsal.post(other, routes.devices("en-us"), message).status_code == 200
    assert operations.count_devices(rehearsal.config, POPULATION) == {"enrolled": 1, "revoked": 0}


def test_an_open_population_takes_everybody(rehearsal: Any) -> None:
    set_enrolment(rehearsal, "open")
    assert rehearsal.post_enrol(secrets.token_hex(16)).status_code == 200


def test_a_service_that_reads_no_verdicts_says_so(rehearsal: Any) -> None:
    set_enrolment(rehearsal, "attestation")
    response = rehearsal.post_enrol(secrets.token_hex(16), token=rehearsal.token, attestation="a.b.c")
    assert (kind(response), "not set up" in response.json["detail"]) == ("enrolment_refused", True)


def test_a_replayed_enrolment_is_refused(rehearsal: Any) -> None:
    device_id, nonce = secrets.token_hex(16), secrets.token_hex(16)
    public_key = encode_public_key(rehearsal.key(device_id).public_key())
    message = Enrol(device_id=device_id, public_key=public_key, token=rehearsal.token)
    path = routes.devices(POPULATION)
    assert rehearsal.post(device_id, path, message, nonce=nonce).status_code == 200
    assert kind(rehearsal.post(device_id, path, message, nonce=nonce)) == "repeated_nonce"


@pytest.mark.parametrize("body", [b"", b"[]", b"not JSON", b'{"device_id":"' + b"ab" * 16 + b'"}'])
def test_what_is_no_enrolment_is_refused(rehearsal: Any, body: bytes) -> None:
    path = routes.devices(POPULATION)
    headers = rehearsal.sign("ab" * 16, "POST", path, body)
    length = {"CONTENT_LENGTH": str(len(body))}
    response = rehearsal.request(
        "POST", path, data=body, headers=headers, content_type="application/json", environ_overrides=length
    )
    assert (response.status_code, kind(response)) == (400, "malformed_message")
