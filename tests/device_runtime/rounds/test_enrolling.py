"""A device enrols before its first check-in, again when the service lost it, and never in a loop."""

import pytest
from flask import Response, request

from device_runtime.network.identity import IDENTITY_KEY_FILE
from device_runtime.rounds.agent_state import AgentState, StateFile, Timer
from device_runtime.rounds.enrolling import REVOKED_PAUSE_S, enrolled_signer
from device_runtime.rounds.outcome import Event
from protocol import routes
from protocol.messages import ComeBack, Problem, encode_message

ENROLMENT = routes.devices("tests")


def problem(kind):
    body = Problem(type=f"urn:keychorus:problem:{kind}", title=kind, status=403, detail="")
    return Response(encode_message(body), 403, content_type="application/problem+json")


def refuse(service, kind, *paths):
    service.override = lambda: problem(kind) if not paths or request.path in paths else None


@pytest.fixture
def state(tmp_path):
    return StateFile(tmp_path / "tests" / "agent.json")


@pytest.fixture
def fresh(new_agent, state, enrolled):
    """Makes agents of a device that the service does not know."""
    state.save(AgentState(device_id=enrolled, newest_model_version=3))
    return new_agent


def test_a_device_enrols_once_before_its_first_check_in(fresh, service, state, enrolled):
    service.check_in_answer = ComeBack(reconnect_after_s=0.0, reason="no_task")
    assert fresh().step().event is Event.ENROLLED
    assert fresh().step().event is Event.TOLD_TO_WAIT
    (message,) = service.enrolments
    assert (message.device_id, message.token) == (enrolled, None)
    assert state.load().enrolment == "enrolled"
    assert [path for _, path in service.requests] == [ENROLMENT, routes.check_ins("tests")]


def test_nothing_to_train_on_is_no_reason_to_enrol(fresh, service, log):
    log.wipe()
    assert fresh().step().event is Event.NOTHING_TO_TRAIN
    assert service.requests == []


@pytest.mark.parametrize("kind", ["unknown_device", "wrong_signature"])
def test_a_device_that_the_service_lost_enrols_again_with_the_same_key(new_agent, service, state, clock, kind):
    refuse(service, kind, routes.check_ins("tests"))
    outcome = new_agent().step()
    assert outcome.event is Event.NOT_ENROLLED
    assert outcome.next_step_in_s >= 15
    for _ in range(2):
        clock.now += 7_200
        assert new_agent().step().event is Event.ENROLLED
        assert new_agent().step().event is Event.NOT_ENROLLED
    assert len({(message.device_id, message.public_key) for message in service.enrolments}) == 1
    assert state.load().failures == 3  # longer and longer apart: enrolment alone is no success


def test_a_device_that_lost_its_key_begins_under_a_new_id_and_keeps_its_promises(fresh, service, state, clock):
    before = state.load()
    separation = Timer(clock.now - 100.0, 100.0)
    state.save(AgentState(device_id=before.device_id, newest_model_version=3, separation=separation))
    key_path = state._path.with_name(IDENTITY_KEY_FILE)
    refuse(service, "wrong_device", ENROLMENT)
    agent = fresh()
    key = key_path.read_bytes()
    assert agent.step().event is Event.NOT_ENROLLED
    assert key_path.read_bytes() != key, "an id or a key that the service knows with another stays refused"
    after = state.load()
    assert after.device_id != before.device_id
    assert (after.newest_model_version, after.separation) == (3, separation)
    service.override = lambda: None
    clock.now += 3_600
    assert agent.step().event is Event.ENROLLED
    assert service.enrolments[-1].device_id == after.device_id
    signer = enrolled_signer(agent._environment, "tests", service.key.public_key())
    assert service.enrolments[-1].public_key == signer.public_key


def test_a_device_without_token_says_what_is_missing(fresh, service, state):
    refuse(service, "enrolment_refused", ENROLMENT)
    outcome = fresh().step()
    assert (outcome.event, state.load().enrolment) == (Event.NOT_ENROLLED, "refused")
    assert "--enrolment-token" in outcome.reason
    assert outcome.next_step_in_s > 0


def test_a_revoked_device_waits_a_day(new_agent, service, state, clock):
    refuse(service, "revoked_device")
    outcome = new_agent().step()
    assert (outcome.event, outcome.next_step_in_s) == (Event.REVOKED, REVOKED_PAUSE_S)
    asked = len(service.requests)
    clock.now += REVOKED_PAUSE_S - 1
    assert new_agent().step().event is Event.WAITING
    assert len(service.requests) == asked
    assert state.load().enrolment == "revoked"


def test_a_device_revoked_in_mid_round_drops_the_round(new_agent, service, round_files, state):
    service.offer(round_files)
    agent = new_agent()
    assert [agent.step().event for _ in range(3)][-1] is Event.TRAINED
    refuse(service, "revoked_device")
    assert agent.step().event is Event.REVOKED
    assert type(state.load().phase).__name__ == "Waiting"
    assert not list(state._path.parent.glob("update.sealed"))


def test_an_answer_that_names_another_device_is_refused(fresh, service):
    answer = b'{"device_id":"' + b"0" * 32 + b'","public_key":"' + b"0" * 64 + b'"}'
    service.override = lambda: Response(answer, content_type="application/json")
    assert fresh().step().event is Event.REFUSED


def test_others_sign_as_the_device_once_it_is_enrolled(fresh, tmp_path, service, state):
    agent = fresh()
    environment = agent._environment
    assert enrolled_signer(environment, "tests", service.key.public_key()) is None
    agent.step()
    signer = enrolled_signer(environment, "tests", service.key.public_key())
    assert (signer.device_id, signer.public_key) == (
        service.enrolments[0].device_id,
        service.enrolments[0].public_key,
    )
    (tmp_path / "tests" / "agent.json").write_bytes(b"{")
    assert enrolled_signer(environment, "tests", service.key.public_key()) is None
