"""A device against a service that lies: whatever it is told, it gives nothing away that unmasks less than the sum."""

import copy

import numpy as np
import pytest

from protocol.errors import MalformedMessage, ProtocolError
from protocol.secure_aggregation import server
from protocol.secure_aggregation.errors import (
    BadSeal,
    SecureAggregationError,
    StageSpent,
    WrongSession,
    WrongSurvivors,
)
from protocol.secure_aggregation.messages import (
    Confirmations,
    DeliveredShares,
    SurvivorList,
    UnmaskingShares,
    decode,
    encode,
)
from protocol.secure_aggregation.survivors import to_bitmap
from tests.protocol.secure_aggregation.cohort import (
    CONFIRM,
    MASK,
    SHARE,
    UNMASK,
    changed,
    cohort_at,
    make_terms,
    roster_of,
)

ANY_VALUES = np.zeros(5, np.uint16)


# Stage 1: rosters (see `test_membership.py`).


def test_a_member_that_was_given_another_roster_cannot_be_told_of_this_one():
    """Here the other roster lacks one member; its members seal, mask and sign for a session of its own."""
    cohort = cohort_at(SHARE, num_devices=6, degree=4, threshold=2)
    smaller = roster_of(cohort, [bundle for device, bundle in cohort.bundles.items() if device != 5])
    answer = cohort.answer(0, smaller)
    with pytest.raises(WrongSession):
        cohort.receive(0, answer)
    cohort.sealed[cohort.index(0)] = decode(answer, server.EncryptedShares).sealed  # a service that does not mind
    for device in range(1, 6):
        cohort.play(device)
    cohort.close()
    neighbour = cohort.device_at(cohort.group.neighbours[cohort.index(0)][0])
    with pytest.raises(BadSeal):
        cohort.answer(neighbour, cohort.tell(neighbour))
    with pytest.raises(WrongSession):
        cohort.answer(0, cohort.tell(0))


# Stage 2: shares that neighbours sealed.


def test_shares_that_were_swapped_among_neighbours_are_refused():
    cohort = cohort_at(MASK)
    sealed = decode(cohort.tell(0), DeliveredShares).sealed
    swapped = sealed[94:188] + sealed[:94] + sealed[188:]
    with pytest.raises(BadSeal):
        cohort.answer(0, changed(cohort.tell(0), DeliveredShares, sealed=swapped))


def test_a_device_masks_only_with_itself_and_enough_neighbours():
    cohort = cohort_at(MASK)
    index = cohort.index(0)
    peers = [peer for peer in range(6) if peer != index]
    for sharers in ([index, *peers[:2]], peers, []):
        told = changed(cohort.tell(0), DeliveredShares, sharers=to_bitmap(sharers, 6), sealed=b"")
        with pytest.raises(WrongSurvivors):
            copy.copy(cohort.devices[0]).mask(told, ANY_VALUES)


def test_an_input_of_another_type_or_length_is_a_mistake_of_the_caller():
    cohort = cohort_at(MASK)
    for wrong in (np.zeros(5, np.uint8), np.zeros(6, np.uint16), np.zeros((5, 1), np.uint16)):
        with pytest.raises(ValueError, match="must be"):
            copy.copy(cohort.devices[0]).mask(cohort.tell(0), wrong)


def test_masking_leaves_the_input_as_it_was():
    cohort = cohort_at(MASK)
    before = cohort.values[0].copy()
    cohort.answer(0, cohort.tell(0))
    np.testing.assert_array_equal(cohort.values[0], before)


# Stage 3: lists of survivors.


def survivors_told(cohort, survivors):
    return encode(SurvivorList(session_id=cohort.group.session_id, survivors=to_bitmap(survivors, len(cohort.bundles))))


def test_survivors_without_this_device_are_refused():
    cohort = cohort_at(CONFIRM)
    with pytest.raises(WrongSurvivors, match="this device"):
        cohort.answer(0, survivors_told(cohort, set(range(6)) - {cohort.index(0)}))


def test_survivors_who_had_not_shared_their_secrets_are_refused():
    cohort = cohort_at(SHARE)
    for device in range(5):
        cohort.play(device)
    cohort.close()
    for device in range(5):
        cohort.play(device)
    cohort.close()
    with pytest.raises(WrongSurvivors, match="shared"):
        cohort.answer(0, survivors_told(cohort, range(6)))


def test_survivors_fewer_than_the_plan_allows_are_refused():
    cohort = cohort_at(CONFIRM)
    index = cohort.index(0)
    peers = [peer for peer in range(6) if peer != index]
    with pytest.raises(WrongSurvivors, match="must be >= 4, got 3"):
        cohort.answer(0, survivors_told(cohort, [index, *peers[:2]]))


def test_survivors_with_too_few_of_the_neighbours_are_refused():
    cohort = cohort_at(CONFIRM, num_devices=12, degree=4, threshold=3)
    index = cohort.index(0)
    peers = cohort.group.neighbours[index]
    with pytest.raises(WrongSurvivors, match="neighbours"):
        cohort.answer(0, survivors_told(cohort, set(range(12)) - set(peers[:2])))


def test_survivors_in_two_parts_are_refused():
    """Two runs of two dropped members cut a ring of degree 4: each part would have a sum of its own."""
    cohort = cohort_at(CONFIRM, num_devices=12, degree=4, threshold=2, terms=make_terms(min_members=3))
    order = cohort.group.order
    start = order.index(cohort.index(0))
    dropped = {order[(start + step) % 12] for step in (3, 4, 9, 10)}
    generous = copy.copy(cohort.devices[0])
    generous._terms = make_terms(dropout_fraction=0.5)
    with pytest.raises(WrongSurvivors, match="hang together"):
        generous.confirm(survivors_told(cohort, set(range(12)) - dropped))


# Stage 4: confirmations.


def test_two_lists_of_survivors_unmask_nobody():
    """The service tells some that member v dropped out and others that it survived, to get both kinds of share."""
    cohort = cohort_at(CONFIRM, terms=make_terms(mode="semi_malicious"), threshold=3)
    target = cohort.index(5)
    everybody, without = survivors_told(cohort, range(6)), survivors_told(cohort, set(range(6)) - {target})
    signatures = {}
    for device in range(6):
        answer = cohort.answer(device, without if device < 3 else everybody)
        signatures[cohort.index(device)] = decode(answer, server.Confirmation).signature
    for device in range(5):
        with pytest.raises(ProtocolError):
            copy.copy(cohort.devices[device]).unmask(
                server.confirmations_for(cohort.group, signatures, cohort.index(device))
            )
        same = {index: signatures[index] for index in map(cohort.index, range(3) if device < 3 else range(3, 6))}
        with pytest.raises(WrongSurvivors, match="confirm must be >= 3, got 2"):
            copy.copy(cohort.devices[device]).unmask(server.confirmations_for(cohort.group, same, cohort.index(device)))


def test_two_lists_of_sharers_unmask_nobody():
    """The service hides a member's shares from some, so that they make no masks with it, and calls it dropped later."""
    cohort = cohort_at(MASK)
    hidden, everybody = cohort.index(5), frozenset(range(6))
    signatures = {}
    for device in range(5):
        sharers = everybody - {hidden} if device < 3 else everybody
        told = server.delivery_for(cohort.group, sharers, cohort.sealed, cohort.index(device))
        cohort.devices[device], _ = cohort.devices[device].mask(told, cohort.values[device])
    for device in range(5):
        told = survivors_told(cohort, everybody - {hidden})
        cohort.devices[device], answer = cohort.devices[device].confirm(told)
        signatures[cohort.index(device)] = decode(answer, server.Confirmation).signature
    for device in range(5):
        with pytest.raises(WrongSurvivors, match="told the same"):
            cohort.devices[device].unmask(server.confirmations_for(cohort.group, signatures, cohort.index(device)))


def test_confirmations_count_once_and_only_of_surviving_neighbours():
    cohort = cohort_at(UNMASK)
    told = decode(cohort.tell(0), Confirmations)
    first, signature = told.senders[0], told.signatures[:64]
    for senders, signatures in (
        ((first,) * 3, signature * 3),
        ((cohort.index(0), *told.senders), signature + told.signatures),
        (told.senders[::-1], told.signatures),
        (told.senders, told.signatures[:-64]),
    ):
        wrong = changed(cohort.tell(0), Confirmations, senders=senders, signatures=signatures)
        with pytest.raises(MalformedMessage):
            copy.copy(cohort.devices[0]).unmask(wrong)


def test_a_device_gives_one_share_of_each_neighbour():
    """Of those who survived one that fits the self-mask, of those who did not one that fits the mask key."""
    cohort = cohort_at(MASK, num_devices=8, degree=7)
    kept = {}
    for device in sorted(cohort.active - {3}):
        cohort.play(device)
        kept[device] = cohort.devices[device]._kept
    cohort.close()
    for _ in range(2):
        for device in sorted(cohort.active):
            cohort.play(device)
        if cohort.stage == CONFIRM:
            cohort.close()
    dropped = cohort.index(3)
    for device, shares in kept.items():
        given = decode(cohort.to_service[UNMASK, device], UnmaskingShares).shares
        expected = [
            pair.mask_private_key if owner == dropped else pair.self_mask_seed for owner, pair in shares.items()
        ]
        assert given == b"".join(expected)


# All stages.


@pytest.mark.parametrize("stage", range(5))
def test_a_stage_answers_once(stage):
    cohort = cohort_at(stage)
    told, device = cohort.tell(0), cohort.devices[0]
    cohort.answer(0, told)
    cohort.devices[0] = device
    with pytest.raises(StageSpent):
        cohort.answer(0, told)


@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM, UNMASK])
def test_a_stage_is_spent_by_what_it_refused(stage):
    cohort = cohort_at(stage)
    with pytest.raises(MalformedMessage):
        cohort.answer(0, b"")
    with pytest.raises(StageSpent):
        cohort.answer(0, cohort.tell(0))


@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM, UNMASK])
def test_messages_of_a_repeated_round_are_refused(stage):
    """Devices make new keys for every session, so the same task twice is two sessions."""
    terms = make_terms()
    first, second = cohort_at(stage, terms=terms, seed=1), cohort_at(stage, terms=terms, seed=2)
    second.identities = first.identities
    with pytest.raises(SecureAggregationError):
        second.answer(0, first.tell(0))


def test_the_same_round_twice_masks_the_same_input_differently():
    terms = make_terms()
    cohorts = [cohort_at(MASK, terms=terms, seed=seed) for seed in (1, 2)]
    for cohort in cohorts:
        cohort.values[0] = ANY_VALUES
    first, second = (cohort.answer(0, cohort.tell(0))[-8:] for cohort in cohorts)
    assert first != second


def test_no_log_can_hold_a_secret():
    cohort = cohort_at(SHARE)
    secrets = cohort.devices[0]._secrets
    shown = repr(secrets)
    assert secrets.mask.private.hex() not in shown
    assert repr(secrets.self_mask_seed) not in shown
    assert repr(secrets.mask.private) not in shown
