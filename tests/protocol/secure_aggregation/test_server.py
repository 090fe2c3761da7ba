"""The service's side: what it takes in, whom it goes on with, and that all of it can be kept in a database."""

import copy

import msgspec
import numpy as np
import pytest

from protocol.errors import MalformedMessage
from protocol.secure_aggregation import server
from protocol.secure_aggregation.errors import WrongBundle, WrongSession, WrongSurvivors
from protocol.secure_aggregation.graph import neighbours
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.messages import GroupParameters, decode, encode
from tests.protocol.secure_aggregation.cohort import CONFIRM, MASK, SHARE, Cohort, cohort_at, make_task, make_terms

PARAMETERS = GroupParameters(degree=4, threshold=3, value_bits=12, vector_length=5)


def advertised(num_devices=6, **terms):
    cohort = Cohort(num_devices, make_terms(**terms))
    for device in range(num_devices):
        cohort.play(device)
    return cohort


def test_a_bundle_is_taken_from_its_own_device_only():
    cohort = Cohort(3, make_terms())
    answer = cohort.answer(0, b"")
    assert server.accept_bundle(answer, make_task(), cohort.public[0]).identity_key == cohort.public[0]
    with pytest.raises(WrongBundle, match="that sends it"):
        server.accept_bundle(answer, make_task(), cohort.public[1])
    with pytest.raises(WrongBundle, match="for this task"):
        server.accept_bundle(answer, make_task(2), cohort.public[0])


def test_a_group_is_the_same_whatever_the_order_of_its_bundles():
    bundles = list(advertised().bundles.values())
    first = server.form_group(make_task(), PARAMETERS, 3, bundles)
    second = server.form_group(make_task(), PARAMETERS, 3, bundles[::-1])
    assert first == second
    assert list(first.digests) == sorted(first.digests)


def test_a_stored_group_is_the_same_group():
    group = cohort_at(SHARE, num_devices=9, degree=4).group
    restored = decode(encode(group), Group)
    assert restored == group
    assert (restored.session_id, restored.order, restored.neighbours) == (
        group.session_id,
        group.order,
        group.neighbours,
    )
    assert restored.neighbours == tuple(neighbours(group.order, 4, index) for index in range(9))
    assert [restored.index_of(bundle.identity_key) for bundle in group.bundles] == list(range(9))
    assert restored.index_of(bytes(32)) is None


@pytest.mark.parametrize(
    ("count", "degree", "least"), [(0, 4, 3), (4, 4, 3), (6, 4, 7), (6, 3, 3)], ids=["none", "few", "least", "odd"]
)
def test_a_group_that_cannot_be_formed_fails_in_the_open(count, degree, least):
    bundles = list(advertised().bundles.values())[:count]
    parameters = msgspec.structs.replace(PARAMETERS, degree=degree)
    assert isinstance(server.form_group(make_task(), parameters, least, bundles), GroupFailed)


def test_a_device_cannot_be_in_a_group_twice():
    bundles = list(advertised().bundles.values())
    with pytest.raises(WrongBundle):
        server.form_group(make_task(), PARAMETERS, 3, [*bundles, bundles[0]])


def test_only_those_go_on_whose_secrets_enough_others_hold():
    group = msgspec.structs.replace(cohort_at(SHARE, num_devices=12, degree=4, threshold=2).group, least_survivors=3)
    order = group.order
    gone = {order[0], order[1], order[3]}  # of the four neighbours of order[2], one is left
    assert server.route_shares(group, set(range(12)) - gone) == set(range(12)) - gone - {order[2]}


def test_a_group_fails_whose_sharers_are_too_few():
    group = cohort_at(SHARE, num_devices=6).group
    assert isinstance(server.route_shares(group, {0, 1}), GroupFailed)
    assert isinstance(server.route_shares(group, set()), GroupFailed)


def test_survivors_in_two_parts_have_no_sum():
    group = cohort_at(SHARE, num_devices=12, degree=4, threshold=2).group
    group = msgspec.structs.replace(group, least_survivors=3)
    order = group.order
    dropped = {order[place] for place in (0, 1, 6, 7)}
    assert isinstance(server.survivors_of(group, set(range(12)) - dropped), GroupFailed)
    assert server.survivors_of(group, set(range(12)) - {order[0], order[6]})


def test_a_masked_input_counts_once():
    cohort = cohort_at(MASK)
    cohort.play(0)
    before = cohort.partials[0].lanes.copy()
    with pytest.raises(WrongSurvivors, match="one masked input"):
        cohort.receive(0, cohort.to_service[MASK, 0])
    np.testing.assert_array_equal(cohort.partials[0].lanes, before)
    twice = copy.deepcopy(cohort.partials[0])
    with pytest.raises(WrongSurvivors, match="1 in two"):
        server.merge_sums(cohort.partials[0], twice)
    np.testing.assert_array_equal(cohort.partials[0].lanes, before)


def test_a_masked_input_of_who_had_not_shared_does_not_count():
    cohort = cohort_at(MASK)
    answer = cohort.answer(0, cohort.tell(0))
    index = cohort.index(0)
    with pytest.raises(WrongSurvivors, match="shared"):
        server.add_masked(cohort.partials[0], cohort.group, cohort.sharers - {index}, index, answer)


def test_partial_sums_are_the_same_in_any_order():
    cohort = cohort_at(MASK, num_devices=8, degree=7)
    for device in range(8):
        cohort.play(device)
    first, second = (copy.deepcopy(cohort.partials[::step]) for step in (1, -1))
    server.merge_sums(*first)
    server.merge_sums(*second)
    np.testing.assert_array_equal(first[0].lanes, second[0].lanes)
    assert first[0].members == second[0].members == set(range(8))


@pytest.mark.parametrize("stage", [SHARE, MASK, CONFIRM])
def test_an_answer_of_another_member_is_refused(stage):
    cohort = cohort_at(stage)
    answer = cohort.answer(0, cohort.tell(0))
    with pytest.raises(MalformedMessage):
        cohort.receive(1, answer)


def test_an_answer_of_another_group_of_the_same_round_is_refused():
    first, second = cohort_at(SHARE, seed=1), cohort_at(SHARE, seed=2)
    with pytest.raises(WrongSession):
        second.receive(0, first.answer(0, first.tell(0)))


def test_a_confirmation_of_who_did_not_survive_is_refused():
    cohort = cohort_at(CONFIRM)
    answer, index = cohort.answer(0, cohort.tell(0)), cohort.index(0)
    with pytest.raises(WrongSurvivors):
        server.accept_confirmation(cohort.group, cohort.sharers, cohort.survivors - {index}, index, answer)


def test_shares_are_asked_only_of_who_can_give_them_and_if_they_suffice():
    group = cohort_at(SHARE, num_devices=6, threshold=4).group
    everybody = frozenset(range(6))
    assert server.revealers_of(group, everybody, everybody) == everybody
    assert server.revealers_of(group, everybody, {0, 1, 2, 3, 4}) == {0, 1, 2, 3, 4}
    assert isinstance(server.revealers_of(group, everybody, {0, 1, 2, 3}), GroupFailed)
