"""Each message cut short, changed in every byte, out of turn or another's: a typed error, never a wrong sum."""

import copy
from functools import cache

import numpy as np
import pytest

from protocol.errors import MalformedMessage, ProtocolError
from protocol.secure_aggregation.errors import BadSeal
from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.messages import EncryptedShares, UnmaskingShares, decode
from tests.protocol.secure_aggregation.cohort import (
    ADVERTISE,
    CONFIRM,
    MASK,
    SHARE,
    UNMASK,
    Cohort,
    make_task,
    make_terms,
)

NUM_DEVICES = 5
DEVICE = 1


def new_cohort(round_number=1):
    return Cohort(NUM_DEVICES, make_terms(task=make_task(round_number)), degree=4, threshold=3)


@cache
def spoken(round_number):
    """All that is said in a round, to the byte: devices draw their randomness from a seed."""
    cohort = new_cohort(round_number)
    cohort.run()
    return cohort


def cohort_at(stage):
    """A cohort that has come to this stage, where all members but one have answered."""
    cohort = new_cohort()
    while cohort.stage < stage:
        for device in cohort.active:
            cohort.play(device)
        cohort.close()
    for device in cohort.active - {DEVICE}:
        cohort.play(device)
    return cohort


def answer_of(cohort, told):
    """What the device answers; it can be asked again, as every attempt asks a copy of its stage."""
    device = cohort.devices[DEVICE]
    cohort.devices[DEVICE] = copy.copy(device)
    try:
        return cohort.answer(DEVICE, told)
    finally:
        cohort.devices[DEVICE] = device


def changed_everywhere(message):
    """One bit of every byte in turn."""
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1 << place % 8
        yield bytes(changed)


def is_refused(cohort, told):
    """Whether the device refuses what it is told, or else the service what it answers then."""
    try:
        cohort.receive(DEVICE, answer_of(cohort, told))
    except ProtocolError:
        return True
    return False


@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM, UNMASK])
def test_what_a_device_is_told_must_be_whole(stage):
    cohort = cohort_at(stage)
    told = cohort.tell(DEVICE)
    for wrong in [told[:length] for length in range(len(told))] + [told + b"\x00"]:
        with pytest.raises(MalformedMessage):
            answer_of(cohort, wrong)
    assert not is_refused(cohort, told)


@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM, UNMASK])
def test_what_a_device_is_told_must_be_unchanged(stage):
    cohort = cohort_at(stage)
    told = cohort.tell(DEVICE)
    assert all(is_refused(cohort, wrong) for wrong in changed_everywhere(told))
    assert not is_refused(cohort, told)


@pytest.mark.parametrize("stage", range(5))
def test_what_a_device_answers_must_be_whole(stage):
    cohort = cohort_at(stage)
    answer = answer_of(cohort, cohort.tell(DEVICE))
    for wrong in [answer[:length] for length in range(len(answer))] + [answer + b"\x00"]:
        with pytest.raises(MalformedMessage):
            cohort.receive(DEVICE, wrong)
    cohort.receive(DEVICE, answer)


@pytest.mark.parametrize("stage", [ADVERTISE, MASK, CONFIRM])
def test_what_a_device_answers_must_be_unchanged(stage):
    cohort = cohort_at(stage)
    answer = answer_of(cohort, cohort.tell(DEVICE))
    for wrong in changed_everywhere(answer):
        with pytest.raises(ProtocolError):
            cohort.receive(DEVICE, wrong)
    cohort.receive(DEVICE, answer)


@pytest.mark.parametrize(("stage", "kind"), [(SHARE, EncryptedShares), (UNMASK, UnmaskingShares)])
def test_all_but_the_shares_must_be_unchanged_as_the_service_receives_them(stage, kind):
    cohort = cohort_at(stage)
    answer = answer_of(cohort, cohort.tell(DEVICE))
    message = decode(answer, kind)
    num_shared = len(message.sealed if kind is EncryptedShares else message.shares)
    around = list(changed_everywhere(answer))[:-num_shared]
    changed_fields = set()
    for wrong in around:
        with pytest.raises(ProtocolError) as refused:
            cohort.receive(DEVICE, wrong)
        changed_fields |= {word for word in ("session", "sender") if word in str(refused.value)}
    assert changed_fields == {"session", "sender"}
    cohort.receive(DEVICE, answer)


def finishes_with_the_true_sum(cohort):
    cohort.play(DEVICE)
    while cohort.outcome is None:
        cohort.close()
        if cohort.outcome is None:
            for device in sorted(cohort.active):
                cohort.play(device)
    np.testing.assert_array_equal(cohort.outcome, cohort.true_sum())
    assert len(cohort.survivors) == NUM_DEVICES


@pytest.mark.parametrize("round_number", [1, 2], ids=["this round", "another round"])
@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM, UNMASK])
def test_nothing_that_is_told_at_another_stage_or_to_another_or_in_another_round_is_taken(stage, round_number):
    cohort = cohort_at(stage)
    right = cohort.tell(DEVICE)
    others = set(spoken(round_number).to_device.values()) - {b"", right}
    assert (right in spoken(round_number).to_device.values()) is (round_number == 1)
    assert len(others) >= 3 * NUM_DEVICES
    for wrong in others:
        with pytest.raises(ProtocolError):
            answer_of(cohort, wrong)
    finishes_with_the_true_sum(cohort)


@pytest.mark.parametrize("round_number", [1, 2], ids=["this round", "another round"])
@pytest.mark.parametrize("stage", range(5))
def test_nothing_that_is_answered_at_another_stage_or_by_another_or_in_another_round_is_taken(stage, round_number):
    cohort = cohort_at(stage)
    right = answer_of(cohort, cohort.tell(DEVICE))
    others = set(spoken(round_number).to_service.values()) - {right}
    assert len(others) == 5 * NUM_DEVICES - (round_number == 1)
    for wrong in others:
        with pytest.raises(ProtocolError):
            cohort.receive(DEVICE, wrong)
    finishes_with_the_true_sum(cohort)


def test_changed_shares_are_refused_by_the_neighbour_they_are_for():
    cohort = cohort_at(SHARE)
    answer = cohort.answer(DEVICE, cohort.tell(DEVICE))
    changed = bytearray(answer)
    changed[-94] ^= 1  # what is sealed for the last neighbour
    cohort.receive(DEVICE, bytes(changed))
    cohort.close()
    index = cohort.index(DEVICE)
    last = cohort.device_at(cohort.group.neighbours[index][-1])
    for device in sorted(cohort.active - {last}):
        cohort.play(device)
    with pytest.raises(BadSeal):
        cohort.answer(last, cohort.tell(last))
    cohort.close()
    cohort.active.discard(last)
    np.testing.assert_array_equal(cohort.run(), cohort.true_sum())
    assert cohort.index(last) not in cohort.survivors


def test_changed_shares_of_one_neighbour_do_no_harm_where_others_suffice():
    cohort = cohort_at(UNMASK)
    answer = answer_of(cohort, cohort.tell(DEVICE))
    for wrong in list(changed_everywhere(answer))[-4 * 33 :]:
        trial = copy.copy(cohort)
        trial.partials = copy.deepcopy(cohort.partials)
        trial.shares = dict(cohort.shares)
        trial.receive(DEVICE, wrong)
        trial.close()
        np.testing.assert_array_equal(trial.outcome, trial.true_sum())


def test_too_many_changed_shares_end_the_group_in_the_open():
    cohort = cohort_at(UNMASK)
    cohort.play(DEVICE)
    cohort.shares = {index: bytes(len(shares)) for index, shares in cohort.shares.items()}
    before = cohort.partials[0].lanes.copy()
    cohort.close()
    assert isinstance(cohort.outcome, GroupFailed)
    np.testing.assert_array_equal(cohort.partials[0].lanes, before)
