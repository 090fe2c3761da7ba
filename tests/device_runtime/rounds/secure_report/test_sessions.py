"""Secure aggregation as a device sees it: the real agent over HTTP, in a group whose other members run in memory."""

import itertools

import msgspec
import numpy as np
import pytest
from flask import Response
from secure_agent import ALL, PUTS, events, live_until, state, steps

from device_runtime.rounds import agent_state, spool
from device_runtime.rounds.agent_state import Advertised, Waiting
from device_runtime.rounds.bookkeeping import FIRST_RETRY_S, FIRST_SESSION_RETRY_S, LONGEST_SESSION_RETRY_S
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.secure_report import SessionLost, SessionMemory
from device_runtime.rounds.taking_part import SESSION_GRACE_S
from device_runtime.storage.files import write_atomically
from protocol.clipping import l2_norm
from protocol.lanes import signed_values
from protocol.secure_aggregation.inputs import decode_sum
from protocol.update import decode_update


def test_the_sum_holds_the_clipped_update_and_nothing_else_is_sent(
    *, agent, group, service, secure_plan, round_files, new_agent, clock
):
    outcomes = steps(agent, 8)
    assert events(outcomes) == [Event.SELECTED, Event.CONFIGURED, Event.TRAINED, *ALL]
    assert service.reports == []
    update = decode_sum(group.input_of_device(), secure_plan, group.task, 1)
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


@pytest.mark.parametrize(
    ("told", "expected"),
    [("7", 7.0), ("0", 0.0), (None, 0.0), ("-1", 0.0), ("1e9", 0.0), ("999999", 600.0 + SESSION_GRACE_S)],
)
def test_the_group_is_asked_when_its_acknowledgement_says(agent, group, told, expected):
    group.retry_after = told
    outcomes = steps(agent, 8)
    assert events(outcomes)[3:] == ALL, "whoever asks sooner is answered all the same"
    assert [outcome.next_step_in_s for outcome in outcomes[3:]] == [expected] * 4 + [100.0]


def test_waiting_as_it_is_told_a_device_asks_once_a_stage(agent, group, clock):
    group.retry_after = "7"
    live_until(agent, clock, Event.REPORTED)
    assert group.asked == dict.fromkeys(["roster", "delivery", "survivors", "confirmations"], 1)


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


def test_a_round_is_taken_part_in_once_whatever_was_offered_between(*, new_agent, begin, service, clock, tmp_path):
    begin()
    agent, first = new_agent(), service.check_in_answer
    assert events(steps(agent, 8))[-1] is Event.REPORTED
    clock.now += 4_000
    begin()
    assert events(steps(agent, 8))[-1] is Event.REPORTED
    clock.now += 4_000
    (tmp_path / "tests" / "agent.json").write_bytes(b"{")  # what is promised outlives the state
    service.check_in_answer = msgspec.structs.replace(first, assignment_id="0" * 32)
    outcomes = steps(new_agent(), 2)
    assert (events(outcomes), outcomes[-1].reason) == (
        [Event.ENROLLED, Event.REFUSED],
        "a device must be selected into a round once, got a second time",
    )


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
    service.offer(round_files)
    outcome = steps(new_agent(require_secure_aggregation=True), 2)[-1]
    assert outcome.event is Event.REFUSED
    assert outcome.reason == "this device's owner asks for secure aggregation, the round has none"
    assert [path for method, path in service.requests if method == "GET"] == [service.requests[1][1]], "the plan only"
    clock.now += 4_000
    service.offer(round_files)
    assert steps(new_agent(), 3)[-1].event is Event.TRAINED
    assert new_agent(require_secure_aggregation=True).step().event is Event.REFUSED, "asked for after training"
    assert service.reports == []
    clock.now += 4_000
    begin()
    assert events(steps(new_agent(require_secure_aggregation=True), 8))[-1] is Event.REPORTED


@pytest.fixture(scope="module")
def noisy_plan(secure_plan):
    privacy = msgspec.structs.replace(secure_plan.privacy, noise_multiplier=5.0, noise_by="devices")
    return msgspec.structs.replace(secure_plan, privacy=privacy)


def test_an_owner_may_ask_that_devices_make_the_noise(*, new_agent, begin, noisy_plan, clock):
    begin()
    outcome = steps(new_agent(require_device_noise=True), 2)[-1]
    assert outcome.event is Event.REFUSED
    assert outcome.reason == "this device's owner asks for noise by devices, the round leaves it to the service"
    clock.now += 4_000
    begin(noisy_plan)
    assert events(steps(new_agent(require_device_noise=True), 8))[-1] is Event.REPORTED


def test_what_is_masked_has_the_device_s_share_of_noise(*, new_agent, begin, noisy_plan):
    group = begin(noisy_plan)
    assert events(steps(new_agent(), 8))[-1] is Event.REPORTED
    values = signed_values(group.input_of_device().copy(), 16).astype(float)
    squares = np.sum(values**2)
    assert squares > 2 * noisy_plan.quantiser.squared_bound, "more than any update alone"
    assert squares == pytest.approx(noisy_plan.num_weights * float(noisy_plan.shared_noise.sigma) ** 2, rel=0.4)
