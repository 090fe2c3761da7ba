"""What a device refuses of a service that lies, in a group whose other members run in memory."""

import msgspec
from flask import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from secure_agent import events, state, steps
from secure_group import Group

from device_runtime.rounds.outcome import Event
from protocol.plan import encode_plan
from protocol.secure_aggregation import server
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.secure_aggregation.messages import Confirmations, Roster, SurvivorList, decode, encode


def refuses(agent, group, lie, word, puts):
    """The device refuses what `lie` makes of an answer, drops the round, and has sent no more than `puts`."""
    honest = group.tell
    group.tell = lambda name, index: lie(name, honest(name, index)) if index == group.index else honest(name, index)
    outcomes = steps(agent, 3 + puts + 1)
    assert outcomes[-1].event is Event.REFUSED, outcomes[-1]
    assert word in outcomes[-1].reason
    assert len(group.answers) == puts


def changed(name, message_type, change):
    """A lie: the message of that name with some fields changed."""

    def lie(told_name, told):
        if told_name != name:
            return told
        message = decode(told, message_type)
        return encode(msgspec.structs.replace(message, **change(message)))

    return lie


def test_weak_parameters_are_refused(agent, group):
    def weaker(roster):
        return {"parameters": msgspec.structs.replace(roster.parameters, threshold=1)}

    refuses(agent, group, changed("roster", Roster, weaker), "threshold", puts=1)


def test_fewer_members_than_the_plan_allows_are_refused(agent, group):
    def fewer(roster):
        return {"digests": roster.digests[: 32 * 3]}

    refuses(agent, group, changed("roster", Roster, fewer), "members", puts=1)


def test_survivors_under_the_least_number_are_refused(agent, group):
    def few(message):
        index = group.index
        return {"survivors": bytes([1 << index | 1 << (index + 1) % 8])}

    refuses(agent, group, changed("survivors", SurvivorList, few), "survivors must be", puts=3)


def test_a_list_that_others_were_not_told_is_not_unmasked(agent, group):
    """One member is said to have dropped out, to this device only, and its confirmation is held back."""

    def without_one(message):
        group.unlucky = (group.index + 1) % 8
        return {"survivors": bytes([message.survivors[0] & ~(1 << group.unlucky)])}

    def lie(name, told):
        if name == "confirmations":
            told_of = {index: each for index, each in group.signatures.items() if index != group.unlucky}
            return server.confirmations_for(group.group, told_of, group.index)
        return changed("survivors", SurvivorList, without_one)(name, told)

    honest_accept = group.accept
    group.accept = lambda name, key, message: None if lied(group, name, key) else honest_accept(name, key, message)
    refuses(agent, group, lie, "told the same", puts=4)


def lied(group, name, key):
    """The service does not check what a device confirms of a list that it made up."""
    return name == "confirmation" and key == group.device_key


def test_too_few_confirmations_are_refused(agent, group):
    def none(message):
        return {"senders": (), "signatures": b""}

    refuses(agent, group, changed("confirmations", Confirmations, none), "neighbours that confirm", puts=4)


def test_another_rounds_message_is_refused(agent, group):
    def other(message):
        return {"session_id": bytes(32)}

    refuses(agent, group, changed("survivors", SurvivorList, other), "session", puts=3)


answers = st.tuples(
    st.sampled_from([200, 200, 202, 204, 206, 301, 400, 401, 404, 409, 410, 422, 429, 500]),
    st.sampled_from([SECURE_MEDIA_TYPE, SECURE_MEDIA_TYPE, "application/json", "application/problem+json", ""]),
    st.binary(max_size=60),
    st.sampled_from(["", "0", "1", "3", "-1", "1e9", "99999999999999", "soon", "²"]),
)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(at=st.integers(3, 10), answer=answers, whole=st.booleans(), cut=st.integers(0, 40))
def test_any_answer_gives_an_outcome_and_the_next_round_is_an_ordinary_one(
    *, new_agent, begin, service, clock, log, messages, tmp_path, at, answer, whole, cut
):
    group, agent = begin(waits=1), new_agent()
    status, content_type, body, retry_after = answer
    for number in range(14):

        def err(number=number):
            return Response(body, status, {"Retry-After": retry_after}, content_type=content_type)

        service.override = err if number == at and not whole else (lambda: None)
        honest = Group.tell.__get__(group)
        group.tell = lambda *asked, honest=honest: honest(*asked)[: -cut or None] if whole else honest(*asked)
        outcome = agent.step()
        assert isinstance(outcome.event, Event)
        assert 0 <= outcome.next_step_in_s <= 3_600
        state(tmp_path)
        clock.now += outcome.next_step_in_s
    service.override = lambda: None
    clock.now += 400 * 24 * 3600
    log.extend([(text, "chat", clock.now - 60) for text in messages])
    begin()
    assert Event.REPORTED in events(steps(agent, 9))
    clock.now += 2 * 24 * 3600


def test_nothing_typed_is_sent_or_told(agent, group, service, messages, caplog):
    caplog.set_level("DEBUG")
    outcomes = steps(agent, 8)
    told = repr(outcomes) + caplog.text + repr(service.requests)
    sent = b"".join(service.bodies)
    typed = {word for message in messages for word in message.split() if len(word) > 5}
    assert typed
    assert not [word for word in typed if word in told or word.encode() in sent]


def test_a_plan_below_the_devices_floor_is_refused_whoever_signed_it(agent, service, round_files, secure_plan):
    weak = msgspec.structs.replace(secure_plan.secure_aggregation, mode="semi_honest")
    plan = msgspec.structs.replace(secure_plan, secure_aggregation=weak)
    service.offer(round_files | {"plan": encode_plan(plan)})
    outcome = steps(agent, 2)[-1]
    assert outcome.event is Event.REFUSED
    assert "mode semi_honest" in outcome.reason
