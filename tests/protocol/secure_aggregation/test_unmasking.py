"""Masks come off wholly or not at all: wrong shares are passed over or end the group, and never spoil a sum."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.secure_aggregation import unmasking
from protocol.secure_aggregation.client import Sharing
from protocol.secure_aggregation.errors import WrongSurvivors
from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.masks import add_mask
from tests.protocol.secure_aggregation.cohort import MASK, SHARE, UNMASK, cohort_at


def finished(**settings):
    """A cohort of which all shares are there: one member had dropped out after sharing."""
    cohort = cohort_at(MASK, num_devices=8, degree=7, **settings)
    cohort.active.discard(3)
    while cohort.stage < UNMASK:
        for device in sorted(cohort.active):
            cohort.play(device)
        cohort.close()
    for device in sorted(cohort.active):
        cohort.play(device)
    return cohort


def unmasked(cohort, shares):
    total = cohort.partials[0].lanes.copy()
    return unmasking.unmask(total, cohort.group, cohort.sharers, cohort.survivors, shares)


def test_any_shares_from_the_threshold_on_give_the_sum():
    cohort = finished()
    for count in range(8):
        shares = dict(list(cohort.shares.items())[:count])
        result = unmasked(cohort, shares)
        if count < 4:  # a survivor's own share is not among those of its seed, so three of its neighbours need four
            assert isinstance(result, GroupFailed)
        else:
            np.testing.assert_array_equal(result, cohort.true_sum())


@pytest.mark.parametrize("wrong", [bytes(7 * 33), b"\xff" * (7 * 33)])
def test_one_member_s_wrong_shares_do_no_harm_where_others_suffice(wrong):
    cohort = finished()
    for liar in cohort.shares:
        np.testing.assert_array_equal(unmasked(cohort, {**cohort.shares, liar: wrong}), cohort.true_sum())


def test_a_member_that_shared_another_seed_than_its_own_ends_the_group():
    cohort = cohort_at(SHARE)
    cheat = cohort.devices[0]
    assert isinstance(cheat, Sharing)
    real = cheat._secrets
    object.__setattr__(real, "self_mask_seed", bytes(32))
    outcome = cohort.run()
    assert outcome == GroupFailed(
        f"shares of member {cohort.index(0)} must give its secret back, they are too few or wrong"
    )
    suspects = set()
    unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, cohort.shares, suspects=suspects)
    assert suspects == {cohort.index(0)}


def test_who_is_owed_too_few_shares_is_not_suspected():
    cohort, suspects = finished(), set()
    few = dict(list(cohort.shares.items())[:2])
    assert isinstance(
        unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, few, suspects=suspects), GroupFailed
    )
    assert suspects == set()


def test_masks_may_be_taken_off_in_parts():
    cohort = finished()
    masks = unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, cohort.shares)
    assert len(masks) == 7 + 7  # seven self-masks, and those that seven members made with the one that dropped out
    half = np.zeros_like(cohort.partials[0].lanes)
    unmasking.take_off(half, masks[::2])
    total = cohort.partials[0].lanes.copy()
    unmasking.take_off(total, masks[1::2])
    total += half
    np.testing.assert_array_equal(total % 4096, cohort.true_sum())


def test_each_mask_but_one_leaves_the_sum_masked():
    cohort = finished()
    masks = unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, cohort.shares)
    for seed, sign in masks:
        total = cohort.partials[0].lanes.copy()
        unmasking.take_off(total, masks)
        add_mask(total, seed, sign=-sign)
        assert (total % 4096 != cohort.true_sum()).any()


def test_shares_of_who_did_not_survive_are_refused():
    cohort = finished()
    index = cohort.index(0)
    with pytest.raises(WrongSurvivors):
        unmasking.accept_unmasking(
            cohort.group, cohort.sharers, cohort.survivors - {index}, index, cohort.to_service[UNMASK, 0]
        )


WRONG = {"zeros": bytes(7 * 33), "outside": b"\xff" * (7 * 33), "noise": random.Random(5).randbytes(7 * 33)}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations_with_replacement(sorted(WRONG), 2)))
def test_any_two_members_wrong_shares_do_no_harm_where_two_more_are_there(first, second):
    cohort = finished()
    for liars in itertools.combinations(sorted(cohort.shares), 2):
        suspects = set()
        shares = {**cohort.shares, **dict(zip(liars, (WRONG[first], WRONG[second]), strict=True))}
        total = cohort.partials[0].lanes.copy()
        result = unmasking.unmask(total, cohort.group, cohort.sharers, cohort.survivors, shares, suspects=suspects)
        np.testing.assert_array_equal(result, cohort.true_sum())
        assert suspects <= set(liars)  # of a liar that was never asked for its shares, nobody learns


def test_three_members_wrong_shares_end_the_group_where_one_right_one_is_missing():
    cohort = finished(threshold=4)
    shares = {**cohort.shares, **dict.fromkeys(sorted(cohort.shares)[:3], WRONG["noise"])}
    assert isinstance(unmasked(cohort, shares), GroupFailed)


def test_nobody_is_suspected_where_all_are_honest():
    cohort, suspects = finished(), set()
    unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, cohort.shares, suspects=suspects)
    assert suspects == set()


def test_a_liar_is_found_and_its_shares_are_not_tried_again(monkeypatch):
    cohort, suspects, tries = finished(), set(), []
    liar = min(cohort.shares)
    real = unmasking.combine
    monkeypatch.setattr(unmasking, "combine", lambda *args: tries.append(args) or real(*args))
    shares = {**cohort.shares, liar: WRONG["noise"]}
    unmasking.masks_of(cohort.group, cohort.sharers, cohort.survivors, shares, suspects=suspects)
    assert suspects == {liar}
    first_time = 2 + 4  # of six or seven shares three are tried without the liar, and the others held against them
    assert len(tries) <= len(cohort.sharers) + first_time


@given(st.integers(1, 40), st.integers(0, 40), st.data())
def test_every_one_is_left_out_and_every_two_where_that_is_promised(threshold, spare, data):
    points = list(range(1, threshold + spare + 1))
    choices = [set(chosen) for chosen in unmasking._choices(points, threshold)]
    assert {len(chosen) for chosen in choices} == {threshold}
    assert len(choices) <= unmasking.MAX_TRIES + -(-len(points) // max(1, spare))
    if spare:
        one = data.draw(st.sampled_from(points))
        assert any(one not in chosen for chosen in choices)
    if spare >= 2 and (len(points) <= 16 or spare >= len(points) / 8 + 1):
        pair = set(data.draw(st.permutations(points))[:2])
        assert any(not pair & chosen for chosen in choices)


def test_under_the_threshold_nothing_is_tried():
    assert list(unmasking._choices([1, 2], 3)) == []
