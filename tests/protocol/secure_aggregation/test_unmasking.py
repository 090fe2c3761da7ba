"""Masks come off wholly or not at all: wrong shares are passed over or end the group, and never spoil a sum."""

import numpy as np
import pytest

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
