"""Whole sessions: every sum that a cohort completes is the true one, whatever drops out, comes wrong or comes twice."""

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from protocol.errors import ProtocolError
from protocol.lanes import lane_dtype
from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.signing import Task
from tests.protocol.secure_aggregation.cohort import ADVERTISE, UNMASK, Cohort, make_task, make_terms


def flipped(message, bit):
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGES = {
    "truncated": lambda message, bit: message[: bit // 8],
    "longer": lambda message, _: message + b"\x00",
    "flipped": flipped,
}
FAULTS = (*DAMAGES, "other_session", "other_member", "other_stage", "earlier_stage")
MODES = ("semi_honest", "semi_malicious", "malicious")


@given(
    num_devices=st.integers(3, 12),
    degree=st.sampled_from([4, 6, 8, 11]),
    value_bits=st.integers(8, 32),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=12, deadline=None)
def test_the_sum_is_the_true_one(num_devices, degree, value_bits, mode, seed):
    cohort = Cohort(num_devices, make_terms(value_bits=value_bits, mode=mode), degree, degree // 2 + 1, seed)
    np.testing.assert_array_equal(cohort.run(), cohort.true_sum())
    assert len(cohort.survivors) == num_devices


@pytest.mark.parametrize("stage", range(5))
@pytest.mark.parametrize("degree", [4, 6, 11])
def test_members_may_drop_out_at_every_stage(stage, degree):
    cohort = Cohort(12, make_terms(), degree, 3 if degree > 4 else 2, seed=stage)
    outcome = cohort.run({(stage, 2), (stage, 7)})
    np.testing.assert_array_equal(outcome, cohort.true_sum())
    assert len(cohort.survivors) == (12 if stage > 2 else 10)


@pytest.mark.parametrize("stage", range(5))
@pytest.mark.parametrize("degree", [8, 11])
def test_members_may_drop_out_at_every_stage_under_a_malicious_service(stage, degree):
    cohort = Cohort(12, make_terms(mode="malicious"), degree, threshold=2, seed=stage)
    outcome = cohort.run({(stage, 2), (stage, 7)})
    assert cohort.group.parameters.threshold > degree // 2
    np.testing.assert_array_equal(outcome, cohort.true_sum())


@pytest.mark.parametrize("stage", range(1, 5))
def test_a_group_below_its_threshold_ends_in_the_open(stage):
    cohort = Cohort(8, make_terms(), degree=7, threshold=6, seed=stage)
    outcome = cohort.run({(stage, device) for device in range(3)})
    assert isinstance(outcome, GroupFailed)


def test_members_who_go_at_different_stages_leave_the_others_sum():
    cohort = Cohort(12, make_terms(), degree=6, threshold=2, seed=3)
    outcome = cohort.run({(1, 0), (2, 1), (3, 2), (4, 3)})
    np.testing.assert_array_equal(outcome, cohort.true_sum())
    assert len(cohort.survivors) == 10


def session_terms(degree, value_bits, **changes):
    """More may drop out where everybody is everybody's neighbour."""
    return make_terms(value_bits=value_bits, dropout_fraction=0.25 if degree < 11 else 0.6, **changes)


@cache
def other_session(num_devices, degree, threshold, value_bits, mode):
    """Another round of the same devices, whose messages are replayed."""
    terms = session_terms(degree, value_bits, mode=mode, task=make_task(2))
    cohort = Cohort(num_devices, terms, degree, threshold)
    cohort.run()
    return cohort


GROUPS = st.one_of(
    st.tuples(st.sampled_from(MODES[:2]), st.integers(3, 12) | st.integers(7, 12), st.sampled_from([4, 6, 11])),
    st.tuples(st.just("malicious"), st.integers(10, 12), st.sampled_from([8, 11])),
)
"""Mode, members and degree; against a malicious service nearly every drop-out would cost a smaller group its sum."""


class Session(RuleBasedStateMachine):
    """A cohort whose members answer, vanish, and get or give messages of every wrong kind."""

    @initialize(
        group=GROUPS,
        threshold=st.integers(2, 4),
        value_bits=st.sampled_from([8, 12, 20]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, group, threshold, value_bits, seed):
        mode, num_devices, degree = group
        terms = session_terms(degree, value_bits, mode=mode)
        self.cohort = Cohort(num_devices, terms, degree, threshold, seed)
        self.other = other_session(num_devices, degree, threshold, value_bits, mode)
        self.waiting = set(self.cohort.active)

    def running(self):
        return hasattr(self, "cohort") and self.cohort.outcome is None

    @precondition(lambda self: self.running() and self.waiting)
    @rule(choice=st.integers(0, 11))
    def goes_on(self, choice):
        self.play(self.chosen(choice))

    @precondition(lambda self: self.running() and self.waiting)
    @rule(choice=st.integers(0, 11))
    def vanishes(self, choice):
        self.chosen(choice)

    @precondition(lambda self: self.running() and self.waiting)
    @rule(choice=st.integers(0, 11), fault=st.sampled_from(FAULTS), place=st.floats(0, 1, exclude_max=True))
    def is_told_wrong(self, choice, fault, place):
        device, cohort = self.chosen(choice), self.cohort
        if cohort.stage == ADVERTISE:
            return
        told = self.spoilt(cohort.tell(device), fault, place, device, "to_device")
        try:
            answer = cohort.answer(device, told)
        except ProtocolError:
            return  # this device has dropped out, in the open
        self.receive(device, answer)

    @precondition(lambda self: self.running() and self.waiting)
    @rule(choice=st.integers(0, 11), fault=st.sampled_from(FAULTS), place=st.floats(0, 1, exclude_max=True))
    def answers_wrong(self, choice, fault, place):
        device, cohort = self.chosen(choice), self.cohort
        try:
            answer = cohort.answer(device, cohort.tell(device))
        except ProtocolError:
            return
        self.receive(device, self.spoilt(answer, fault, place, device, "to_service"))

    @precondition(lambda self: self.running() and self.waiting)
    @rule(choice=st.integers(0, 11))
    def answers_twice(self, choice):
        device = self.chosen(choice)
        self.play(device)
        answer = self.cohort.to_service.get((self.cohort.stage, device))
        if answer is not None:
            self.receive(device, answer)

    @rule()
    def deadline(self):
        if not self.running():
            return
        for device in sorted(self.waiting):
            self.play(device)
        self.cohort.close()
        self.waiting = set(self.cohort.active)

    def teardown(self):
        while self.running():
            self.deadline()
        if hasattr(self, "cohort") and not isinstance(self.cohort.outcome, GroupFailed):
            np.testing.assert_array_equal(self.cohort.outcome, self.cohort.true_sum())

    def chosen(self, choice):
        device = sorted(self.waiting)[choice % len(self.waiting)]
        self.waiting.remove(device)
        return device

    def play(self, device):
        try:
            answer = self.cohort.answer(device, self.cohort.tell(device))
        except ProtocolError:
            return
        self.receive(device, answer)

    def receive(self, device, answer):
        try:
            self.cohort.receive(device, answer)
        except ProtocolError:
            return  # the service goes on without it

    def spoilt(self, message, fault, place, device, direction):
        if fault in DAMAGES:
            return DAMAGES[fault](message, int(place * 8 * len(message)))
        cohort, stages = self.cohort, range(UNMASK + 1)
        speakers = sorted(cohort.active - {device}) or [device]
        session, stage, speaker = {
            "other_session": (self.other, cohort.stage, device),
            "other_stage": (self.other, pick([each for each in stages if each != cohort.stage], place), device),
            "other_member": (cohort, cohort.stage, pick(speakers, place)),
            "earlier_stage": (cohort, pick(stages[: cohort.stage] or stages, place), device),
        }[fault]
        return getattr(session, direction).get((stage, speaker), b"")


def pick(choices, place):
    return choices[int(place * len(choices))]


class LongSession(Session):
    """The same, many more times."""


STATEFUL = settings(stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
Session.TestCase.settings = settings(STATEFUL, max_examples=30)
LongSession.TestCase.settings = settings(STATEFUL, max_examples=1_000)
TestSession = Session.TestCase
TestLongSession = pytest.mark.slow(LongSession.TestCase)


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())
DROPPED_IN_VECTORS = {(2, 2), (4, 5)}


def cohort_of_vectors():
    tapes = [io.BytesIO(bytes.fromhex(member["random"])) for member in VECTORS["members"]]
    task = Task(**{**VECTORS["task"], "plan_sha256": bytes.fromhex(VECTORS["task"]["plan_sha256"])})
    parameters = VECTORS["parameters"]
    terms = make_terms(task=task, value_bits=parameters["value_bits"], vector_length=parameters["vector_length"])
    cohort = Cohort(
        len(tapes),
        terms,
        parameters["degree"],
        parameters["threshold"],
        random_sources=[tape.read for tape in tapes],
    )
    dtype = lane_dtype(parameters["value_bits"])
    cohort.values = [np.array(member["values"], dtype) for member in VECTORS["members"]]
    return cohort


def test_the_committed_session_is_spoken_to_the_byte():
    cohort = cohort_of_vectors()
    np.testing.assert_array_equal(cohort.run(DROPPED_IN_VECTORS), VECTORS["sum"])
    assert cohort.group.session_id.hex() == VECTORS["session_id"]
    assert list(cohort.group.order) == VECTORS["order"]
    for device, member in enumerate(VECTORS["members"]):
        assert cohort.index(device) == member["index"]
        for log, name in ((cohort.to_device, "told"), (cohort.to_service, "answers")):
            spoken = {str(stage): message.hex() for (stage, speaker), message in log.items() if speaker == device}
            assert spoken == member[name]


def test_the_committed_sum_is_the_sum_of_the_committed_inputs():
    """From the file alone: member 2 dropped out before its input counted."""
    parameters = VECTORS["parameters"]
    inputs = [member["values"] for number, member in enumerate(VECTORS["members"]) if number != 2]
    assert [sum(column) % 2 ** parameters["value_bits"] for column in zip(*inputs, strict=True)] == VECTORS["sum"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: f"{case['stage']} {case['name']}")
def test_the_committed_wrong_messages_are_refused(case):
    cohort = cohort_of_vectors()
    while cohort.stage < case["stage"]:
        cohort.active -= {device for stage, device in DROPPED_IN_VECTORS if stage == cohort.stage}
        for device in sorted(cohort.active):
            cohort.play(device)
        cohort.close()
    take_in, member = (cohort.answer, case["told"]) if "told" in case else (cohort.receive, case["answers"])
    with pytest.raises(ProtocolError) as raised:
        take_in(member, bytes.fromhex(case["message"]))
    assert type(raised.value).__name__ == case["raises"]
