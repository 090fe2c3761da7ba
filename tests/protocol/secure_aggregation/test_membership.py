"""A device against a roster that lies: about itself, its neighbours, their keys or what keeps them safe."""

import copy

import msgspec
import numpy as np
import pytest

from protocol.errors import MalformedMessage
from protocol.secure_aggregation import server
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.errors import (
    BadPoint,
    WeakParameters,
    WrongBundle,
    WrongRoster,
)
from protocol.secure_aggregation.messages import (
    GroupParameters,
    KeyBundle,
    Roster,
    decode,
    sign_bundle,
)
from tests.protocol.secure_aggregation.cohort import (
    SHARE,
    changed,
    cohort_at,
    make_task,
    make_terms,
    roster_of,
)

ANY_VALUES = np.zeros(5, np.uint16)


def roster_with(cohort, **changes):
    """What device 0 is told, changed."""
    return changed(cohort.tell(0), Roster, **changes)


def others(cohort):
    return [bundle for device, bundle in cohort.bundles.items() if device > 0]


def test_a_roster_without_this_device_is_refused():
    cohort = cohort_at(SHARE, degree=4)
    group = msgspec.structs.replace(cohort.group, bundles=tuple(sorted(others(cohort), key=KeyBundle.digest)))
    with pytest.raises(WrongRoster, match="own bundle"):
        cohort.answer(0, server.roster_for(group, 0))


def test_a_roster_with_other_keys_for_this_device_is_refused():
    cohort = cohort_at(SHARE)
    swapped = msgspec.structs.replace(cohort.bundles[0], mask_key=cohort.bundles[1].mask_key)
    group = msgspec.structs.replace(
        cohort.group, bundles=tuple(sorted([swapped, *others(cohort)], key=KeyBundle.digest))
    )
    with pytest.raises(WrongRoster, match="own bundle"):
        cohort.answer(0, server.roster_for(group, group.bundles.index(swapped)))


@pytest.mark.parametrize("name", ["mask_key", "encryption_key", "self_mask_digest", "identity_key"])
def test_a_neighbour_whose_keys_the_service_swapped_is_refused(name):
    cohort = cohort_at(SHARE)
    first, second, *rest = others(cohort)
    swapped = msgspec.structs.replace(first, **{name: getattr(second, name)})
    with pytest.raises(WrongBundle, match="signed"):
        cohort.answer(0, roster_of(cohort, [cohort.bundles[0], swapped, second, *rest]))


def test_a_neighbour_whose_keys_are_of_another_round_is_refused():
    cohort = cohort_at(SHARE)
    _, *rest = others(cohort)
    _, old = Advertising(make_terms(task=make_task(2)), cohort.identities[1], cohort.random_bytes).advertise()
    with pytest.raises(WrongBundle, match="for this task"):
        cohort.answer(0, roster_of(cohort, [cohort.bundles[0], decode(old, KeyBundle), *rest]))


def test_a_device_that_is_listed_twice_is_refused():
    cohort = cohort_at(SHARE)
    _, again = Advertising(cohort.terms, cohort.identities[1], cohort.random_bytes).advertise()
    bundles = [*cohort.bundles.values()][:-1]
    with pytest.raises(WrongBundle, match="identity_key"):
        cohort.answer(0, roster_of(cohort, [*bundles, decode(again, KeyBundle)]))


def test_a_public_key_that_occurs_twice_is_refused():
    cohort = cohort_at(SHARE)
    _, second, *rest = others(cohort)
    copied = sign_bundle(
        cohort.terms.task,
        identity=cohort.identities[1],
        mask_key=second.encryption_key,
        encryption_key=bytes([9] + [0] * 31),
        self_mask_digest=bytes(32),
    )
    with pytest.raises(WrongBundle, match="occur twice"):
        cohort.answer(0, roster_of(cohort, [cohort.bundles[0], copied, second, *rest]))


def test_a_point_of_low_order_is_refused():
    cohort = cohort_at(SHARE)
    _, *rest = others(cohort)
    bad = sign_bundle(
        cohort.terms.task,
        identity=cohort.identities[1],
        mask_key=bytes(32),
        encryption_key=bytes([9] + [0] * 31),
        self_mask_digest=bytes(32),
    )
    with pytest.raises(BadPoint):
        cohort.answer(0, roster_of(cohort, [cohort.bundles[0], bad, *rest]))


def test_neighbours_other_than_those_listed_are_refused():
    cohort = cohort_at(SHARE)
    first, second, *rest = decode(cohort.tell(0), Roster).neighbours
    for neighbours in ((second, first, *rest), (first, first, *rest), (first, *rest), ()):
        with pytest.raises(WrongRoster, match="neighbours"):
            copy.copy(cohort.devices[0]).share(roster_with(cohort, neighbours=neighbours))


def test_bundles_out_of_order_listed_twice_or_too_few_are_refused():
    cohort = cohort_at(SHARE)
    digests = decode(cohort.tell(0), Roster).digests
    for wrong in (digests[32:64] + digests[:32] + digests[64:], digests[:32] + digests, digests[:64], digests[:33]):
        with pytest.raises((WrongRoster, MalformedMessage)):
            copy.copy(cohort.devices[0]).share(roster_with(cohort, digests=wrong))


@pytest.mark.parametrize(
    ("degree", "threshold", "mode"),
    [
        (5, 1, "semi_honest"),
        (2, 2, "semi_honest"),
        (3, 2, "semi_honest"),
        (5, 2, "semi_malicious"),
        (7, 4, "malicious"),
    ],
)
def test_a_graph_or_threshold_below_the_device_s_floor_is_refused(degree, threshold, mode):
    cohort = cohort_at(SHARE, terms=make_terms(mode=mode), threshold=5)
    weak = GroupParameters(degree=degree, threshold=threshold, value_bits=12, vector_length=5)
    with pytest.raises(WeakParameters):
        cohort.answer(0, roster_with(cohort, parameters=weak))


def test_another_length_or_number_of_bits_than_the_plan_s_is_refused():
    cohort = cohort_at(SHARE)
    for changes in ({"value_bits": 13}, {"vector_length": 6}):
        other = msgspec.structs.replace(cohort.group.parameters, **changes)
        with pytest.raises(WrongRoster, match="of the plan"):
            copy.copy(cohort.devices[0]).share(roster_with(cohort, parameters=other))
