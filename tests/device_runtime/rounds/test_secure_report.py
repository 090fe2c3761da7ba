"""Secure aggregation as a device sees it: the real agent over HTTP, in a group whose other members run in memory."""

import hashlib
import itertools
from dataclasses import replace

import msgspec
import pytest
from flask import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from secure_group import Group

from device_runtime.network.identity import load_identity_key
from device_runtime.rounds import agent_state, spool
from device_runtime.rounds.agent import (
    FIRST_RETRY_S,
    FIRST_SESSION_RETRY_S,
    LONGEST_SESSION_RETRY_S,
    SESSION_GRACE_S,
)
from device_runtime.rounds.agent_state import Advertised, StateFile, Waiting
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.secure_report import SessionLost, SessionMemory
from device_runtime.storage.files import write_atomically
from protocol.clipping import l2_norm
from protocol.plan import SecureAggregationParameters, encode_plan
from protocol.secure_aggregation import server
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE, decode_sum
from protocol.secure_aggregation.messages import Confirmations, Roster, SurvivorList, decode, encode
from protocol.secure_aggregation.signing import Task
from protocol.update import decode_update

ALL = [Event.ADVERTISED, Event.SHARED, Event.MASKED, Event.CONFIRMED, Event.REPORTED]
PUTS = ["keys", "shares", "masked-input", "confirmation", "unmasking"]


@pytest.fixture(scope="module")
def secure_plan(plan):
    secure = SecureAggregationParameters(
        value_bits=16, min_members=5, max_members=8, adversary_fraction=0.05, dropout_fraction=0.25, mode="malicious"
    )
    return msgspec.structs.replace(plan, secure_aggregation=secure)


@pytest.fixture
def secure_files(round_files, secure_plan):
    return round_files | {"plan": encode_plan(secure_plan)}


@pytest.fixture
def begin(service, secure_files, secure_plan, tmp_path):
    """Offers a round and waits for the device with a group of its own."""

    def begin(**options):
        selected = service.offer(secure_files)
        plan_sha256 = hashlib.sha256(secure_files["plan"]).digest()
        task = Task(population="tests", round_id=selected.round_id, plan_sha256=plan_sha256)
        service.group = Group(secure_plan, task, load_identity_key(tmp_path / "tests"), **options)
        return service.group

    return begin


@pytest.fixture
def group(begin):
    return begin()


@pytest.fixture
def agent(new_agent, group):
    return new_agent()


def steps(agent, count):
    return [agent.step() for _ in range(count)]


def events(outcomes):
    return [outcome.event for outcome in outcomes]


def live_until(agent, clock, event):
    """Steps until `event`, through every wait; all outcomes."""
    outcomes = []
    for _ in range(60):
        outcomes.append(agent.step())
        if outcomes[-1].event is event:
            return outcomes
        clock.now += outcomes[-1].next_step_in_s
    pytest.fail(f"{event} never came, but {events(outcomes)}")


def state(tmp_path):
    return StateFile(tmp_path / "tests" / "agent.json").load()


def test_the_sum_holds_the_clipped_update_and_nothing_else_is_sent(
    *, agent, group, service, secure_plan, round_files, new_agent, clock
):
    outcomes = steps(agent, 8)
    assert events(outcomes) == [Event.SELECTED, Event.CONFIGURED, Event.TRAINED, *ALL]
    assert service.reports == []
    update = decode_sum(group.input_of_device(), secure_plan, group.task)
    assert l2_norm(update) <= secure_plan.l2_sensitivity
    clock.now += 5_000
    plain = service.offer(round_files)  # the same words and seed, reported plain
    service.check_in_answer = msgspec.structs.replace(plain, assignment_id=agent_seed(service))
    assert events(steps(new_agent(), 4))[-1] is Event.REPORTED
    expected = decode_update(service.reports[0], secure_plan.num_weights)
    assert l2_norm(update - expected) < 0.02 * l2_norm(expected)


def agent_seed(service):
    """The assignment whose masked input was sent: it seeds the order of the words."""
    [path] = {path for method, path in service.requests if path.endswith("masked-input")}
    return path.split("/")[-2]


def test_bytes_and_version_are_told_of_each_stage(agent, group):
    outcomes = steps(agent, 8)
    sent = [len(group.answers[name][0]) for name in PUTS]
    assert [outcome.bytes_up for outcome in outcomes[3:]] == sent
    assert outcomes[-1].model_version == outcomes[5].model_version == 5
    assert outcomes[-1].next_step_in_s == 100.0
    assert {outcome.next_step_in_s for outcome in outcomes[:-1]} == {0.0}


def test_a_group_that_is_not_there_yet_is_asked_again_when_it_says(new_agent, begin, clock):
    group = begin(waits=2)
    outcomes = live_until(new_agent(), clock, Event.REPORTED)
    waited = [outcome for outcome in outcomes if outcome.event is Event.AWAITING_GROUP]
    assert [outcome.next_step_in_s for outcome in waited] == [3.0] * 8
    assert sum(outcome.bytes_up + outcome.bytes_down for outcome in waited) == 0
    assert group.total is not None


def test_no_wait_is_longer_than_the_round(agent, service):
    steps(agent, 4)
    service.override = lambda: Response("", 202, {"Retry-After": "999999"})
    assert agent.step().next_step_in_s == 600.0 + SESSION_GRACE_S


@pytest.mark.parametrize("name", PUTS)
def test_an_acknowledgement_that_is_lost_has_the_same_message_sent_again(agent, group, clock, name):
    group.lost = {name}
    outcomes = live_until(agent, clock, Event.REPORTED)
    [lost] = [outcome for outcome in outcomes if outcome.event is Event.UNAVAILABLE]
    assert lost.next_step_in_s == FIRST_SESSION_RETRY_S
    assert len(group.answers[name]) == 2
    assert len(set(group.answers[name])) == 1
    assert group.total is not None


def test_within_a_session_nobody_waits_for_long(agent, service, clock):
    steps(agent, 4)
    service.override = lambda: Response("", 503)
    waits = []
    for _ in range(6):
        waits.append(agent.step().next_step_in_s)
        clock.now += waits[-1]
    assert waits == [2.0, 4.0, 8.0, 16.0, LONGEST_SESSION_RETRY_S, LONGEST_SESSION_RETRY_S]


@pytest.mark.parametrize("done", range(1, 5))
def test_a_process_that_ends_within_a_session_drops_the_round(new_agent, group, clock, tmp_path, done):
    steps(new_agent(), 3 + done)
    sent = {name: list(answers) for name, answers in group.answers.items()}
    outcome = new_agent().step()
    assert (outcome.event, outcome.next_step_in_s) == (Event.INTERRUPTED, FIRST_RETRY_S)
    assert "never written down" in outcome.reason
    assert state(tmp_path).phase == Waiting()
    assert not list(tmp_path.rglob("update.sealed"))
    clock.now += FIRST_RETRY_S
    assert group.answers == sent


def test_an_agent_made_anew_in_the_same_process_may_go_on(new_agent, group, tmp_path, monkeypatch):
    memory = SessionMemory()
    monkeypatch.setattr("device_runtime.rounds.agent.SessionMemory", lambda: memory)
    assert events([new_agent().step() for _ in range(8)])[3:] == ALL
    with pytest.raises(SessionLost):
        memory.recall(state(tmp_path))


def test_a_killed_process_has_written_down_that_keys_may_be_out(agent, new_agent, group, tmp_path, monkeypatch):
    steps(agent, 3)
    monkeypatch.setattr("device_runtime.network.client.ServiceClient.tell_group", killed)
    with pytest.raises(Killed):
        agent.step()
    assert isinstance(state(tmp_path).phase, Advertised)
    monkeypatch.undo()
    assert new_agent().step().event is Event.INTERRUPTED
    assert group.answers == {}


class Killed(BaseException):
    pass


def killed(*_):
    raise Killed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_killed_at_any_write_never_says_two_things(*, new_agent, begin, clock, tmp_path, monkeypatch, after):
    """Killed at the nth write to the state or the spool, the device reports once, or drops the round."""
    for nth in itertools.count(1):
        group, agent, writes, ended = begin(), new_agent(), itertools.count(1), set()
        for _ in range(14):
            with monkeypatch.context() as patch:
                kill_at(patch, nth, writes, after=after)
                try:
                    ended.add(agent.step().event)
                except Killed:
                    agent = new_agent()
            state(tmp_path)
            if ended & OVER:
                break
        assert all(len(set(answers)) == 1 for answers in group.answers.values())
        assert ended & OVER
        if next(writes) <= nth:
            break
        clock.now += 10_000
        while not isinstance(state(tmp_path).phase, Waiting):
            new_agent().step()
        clock.now += 10_000
    assert nth > 8
    assert group.total is not None


OVER = {Event.REPORTED, Event.INTERRUPTED, Event.WAITING}
"""The last where it was killed as it wrote down that it has reported."""


def kill_at(patch, nth, writes, *, after):
    def killing(*arguments, **options):
        is_last = next(writes) == nth
        if is_last and not after:
            raise Killed
        write_atomically(*arguments, **options)
        if is_last:
            raise Killed

    for module in (agent_state, spool):
        patch.setattr(module, "write_atomically", killing)


def test_a_round_is_taken_part_in_once(agent, service, group, clock):
    steps(agent, 4)
    group.ended = "roster"
    assert agent.step().event is Event.GROUP_ENDED
    clock.now += 4_000
    again = msgspec.structs.replace(service.check_in_answer, assignment_id="0" * 32)
    service.check_in_answer = again
    outcome = agent.step()
    assert (outcome.event, outcome.reason) == (
        Event.REFUSED,
        "a device must be selected into a round once, got a second time",
    )
    assert list(group.answers) == ["keys"]


@pytest.mark.parametrize("name", ["roster", "shares", "delivery", "masked-input", "survivors", "confirmation"])
def test_a_group_that_has_ended_costs_the_round_and_nothing_more(*, agent, begin, group, clock, tmp_path, name):
    group.ended = name
    outcomes = live_until(agent, clock, Event.GROUP_ENDED)
    assert outcomes[-1].next_step_in_s == FIRST_RETRY_S
    assert state(tmp_path).phase == Waiting()
    assert not list(tmp_path.rglob("update.sealed"))
    clock.now += 4_000
    group = begin()
    assert events(steps(agent, 8))[-1] is Event.REPORTED
    assert group.total is not None


@pytest.mark.parametrize(("name", "separated"), [("delivery", False), ("survivors", True)])
def test_separation_begins_before_the_masked_input_is_sent(*, agent, group, clock, tmp_path, name, separated):
    group.ended = name
    live_until(agent, clock, Event.GROUP_ENDED)
    assert (state(tmp_path).separation.remaining_s(clock.now) > 3_000) is separated


def test_separation_is_kept_when_the_process_dies_as_it_sends_the_masked_input(agent, group, clock, tmp_path):
    steps(agent, 5)
    group.lost = {"masked-input"}
    assert agent.step().event is Event.UNAVAILABLE
    assert state(tmp_path).separation.remaining_s(clock.now) == 3_600


@pytest.mark.parametrize("done", range(3, 8))
def test_a_wiped_log_ends_the_round_and_what_was_trained_is_gone(agent, group, log, tmp_path, done):
    steps(agent, done)
    log.wipe()
    assert agent.step().event is Event.NOTHING_TO_TRAIN
    assert not list(tmp_path.rglob("update.sealed"))
    assert len(group.answers) == done - 3


def test_taking_consent_back_ends_the_session(agent, group, log, tmp_path):
    steps(agent, 5)
    log.consent = False
    assert agent.step().event is Event.NO_CONSENT
    log.consent = True
    assert state(tmp_path).phase == Waiting()
    assert "masked-input" not in group.answers


def test_a_session_waits_while_conditions_do_not_hold(agent, group, conditions):
    steps(agent, 5)
    conditions.reads_left = 0
    assert agent.step().event is Event.NOT_ELIGIBLE
    conditions.reads_left = float("inf")
    assert events(steps(agent, 3)) == ALL[2:]


def test_a_session_that_is_under_way_at_the_deadline_goes_on(agent, group, clock):
    steps(agent, 5)
    clock.now += 600
    assert events(steps(agent, 3)) == ALL[2:]


def test_even_the_longest_round_leaves_a_state_that_loads(agent, service, tmp_path):
    year = 366 * 24 * 3600.0
    service.check_in_answer = msgspec.structs.replace(service.check_in_answer, report_within_s=year)
    steps(agent, 4)
    assert state(tmp_path).phase.deadline.duration_s == year


def test_a_session_that_never_ends_is_given_up(agent, group, clock, tmp_path):
    steps(agent, 5)
    clock.now += 600 + SESSION_GRACE_S
    assert agent.step().event is Event.EXPIRED
    assert not list(tmp_path.rglob("update.sealed"))


def test_the_spool_holds_packed_integers_and_no_float_update(agent, group, tmp_path, secure_plan):
    steps(agent, 3)
    [spooled] = tmp_path.rglob("update.sealed")
    lanes = agent._spool.get(state(tmp_path).phase.selected.assignment_id)
    assert len(lanes) == 2 * secure_plan.num_weights
    assert len(spooled.read_bytes()) < 2 * secure_plan.num_weights + 100
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("update") and path != spooled]


def test_an_update_that_is_lost_is_not_made_up(agent, group, tmp_path):
    steps(agent, 5)
    (tmp_path / "tests" / "update.sealed").unlink()
    assert agent.step().event is Event.REFUSED
    assert "masked-input" not in group.answers


def test_a_plain_plan_is_refused_by_an_owner_who_asks_for_secure_aggregation(
    *, new_agent, service, round_files, begin, clock, tmp_path
):
    def strict():
        agent = new_agent()
        agent._enrolment = replace(agent._enrolment, require_secure_aggregation=True)
        return agent

    service.offer(round_files)
    outcome = steps(strict(), 2)[-1]
    assert outcome.event is Event.REFUSED
    assert outcome.reason == "this device's owner asks for secure aggregation, the round has none"
    assert [path for method, path in service.requests if method == "GET"] == [service.requests[1][1]], "the plan only"
    clock.now += 4_000
    service.offer(round_files)
    assert steps(new_agent(), 3)[-1].event is Event.TRAINED
    assert strict().step().event is Event.REFUSED, "asked for after training"
    assert service.reports == []
    clock.now += 4_000
    begin()
    assert events(steps(strict(), 8))[-1] is Event.REPORTED


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
