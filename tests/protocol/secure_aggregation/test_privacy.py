"""What the service and those who side with it see of one member is uniform until they reach the threshold.

The attack is the best there is: take off every mask whose seed is known. What is left is tested for uniformity over all
256 values of 8-bit lanes, for an input of zeros and one of ones; the same attack with one share more finds the input.
"""

import itertools
from functools import cache

import numpy as np
import pytest

from protocol.secure_aggregation.errors import TooFewShares
from protocol.secure_aggregation.keys import Purpose, agree
from protocol.secure_aggregation.masked_input import read_masked_input
from protocol.secure_aggregation.masks import add_mask
from protocol.secure_aggregation.shamir import PRIME, SHARE_BYTES, combine
from tests.protocol.secure_aggregation.cohort import MASK, Cohort, make_terms

LENGTH = 1024
NUM_SESSIONS = 10
THRESHOLD = 3
CHI_SQUARE_LIMIT = 400.0  # 255 degrees of freedom: beyond it with a chance of 2e-8


@cache
def victim_s_masked_input(value, seed):
    """A session of five, of which nobody has dropped out yet, and the masked input of device 0: `value` throughout."""
    cohort = Cohort(5, make_terms(value_bits=8, vector_length=LENGTH), degree=4, threshold=THRESHOLD, seed=seed)
    cohort.values[0] = np.full(LENGTH, value, np.uint8)
    while cohort.stage <= MASK:
        cohort.secrets = [getattr(device, "_secrets", None) for device in cohort.devices]
        for device in sorted(cohort.active):
            cohort.play(device)
        cohort.close()
    payload = cohort.to_service[MASK, 0]
    index = cohort.index(0)
    return cohort, read_masked_input(payload, cohort.group.parameters, cohort.group.session_id, index)


def attack(cohort, masked, corrupt, knows_self_mask):
    """Takes off what the service knows with the secrets of `corrupt` devices, and the self-mask if it was opened."""
    group, victim, masked = cohort.group, cohort.index(0), masked.copy()
    for device in corrupt:
        peer = cohort.index(device)
        seed = agree(cohort.secrets[device].mask, cohort.bundles[0].mask_key, Purpose.MASK, group.session_id)
        add_mask(masked, seed, sign=-1 if victim < peer else 1)
    if knows_self_mask:
        shares = {cohort.index(d) + 1: kept_of(cohort, d, victim).self_mask_seed for d in range(1, 1 + THRESHOLD)}
        add_mask(masked, combine(shares, THRESHOLD), sign=-1)
    return masked


def kept_of(cohort, device, owner):
    return cohort.devices[device]._kept[owner]


def chi_square(residuals):
    counts = np.bincount(np.concatenate(residuals), minlength=256)
    expected = counts.sum() / 256
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize(
    ("corrupt", "knows_self_mask"),
    [((1, 2), False), ((1, 2), True), ((), True), ((1, 2, 3, 4), False)],
    ids=["two corrupt", "two corrupt, survived", "survived", "called dropped, so that its mask key is open"],
)
def test_below_the_threshold_one_input_is_uniform(value, corrupt, knows_self_mask):
    residuals = [attack(*victim_s_masked_input(value, seed), corrupt, knows_self_mask) for seed in range(NUM_SESSIONS)]
    assert chi_square(residuals) < CHI_SQUARE_LIMIT


@pytest.mark.parametrize("value", [0, 255])
def test_with_all_neighbours_and_the_self_mask_the_input_is_open(value):
    """The control: the same attack finds the input where nothing protects it any more."""
    found = attack(*victim_s_masked_input(value, 0), corrupt=(1, 2, 3, 4), knows_self_mask=True)
    np.testing.assert_array_equal(found, np.full(LENGTH, value, np.uint8))
    assert chi_square([found]) > CHI_SQUARE_LIMIT


def test_what_neighbours_keep_below_the_threshold_fits_every_seed():
    """Exactly: for any other seed there is a polynomial through it and the same two shares."""
    cohort, _ = victim_s_masked_input(0, 0)
    victim = cohort.index(0)
    true_seed = cohort.secrets[0].self_mask_seed
    for first, second in itertools.combinations(range(1, 5), 2):
        known = {cohort.index(device) + 1: kept_of(cohort, device, victim).self_mask_seed for device in (first, second)}
        with pytest.raises(TooFewShares):
            combine(known, THRESHOLD)
        missing = 1 + next(i for i in range(5) if i + 1 not in known and i != victim)
        for other in (true_seed, bytes(32), b"\xff" * 32):
            share = share_that_gives(other, known, missing)
            assert combine({**known, missing: share}, THRESHOLD) == other


def share_that_gives(secret, known, missing):
    """The share at `missing` of the polynomial of degree two through the secret and two known shares."""
    values = {
        0: int.from_bytes(secret, "big"),
        **{point: int.from_bytes(share, "big") for point, share in known.items()},
    }
    total = 0
    for point, value in values.items():
        term = value
        for other in values:
            if other != point:
                term = term * (missing - other) * pow(point - other, -1, PRIME) % PRIME
        total += term
    return (total % PRIME).to_bytes(SHARE_BYTES, "big")


def test_sums_and_nothing_else_of_two_cohorts_are_alike():
    """Two cohorts with other inputs but the same sum end with the same total, and with lists of the same members."""
    outcomes = []
    for shift in (0, 77):
        cohort = Cohort(5, make_terms(value_bits=8), degree=4, threshold=THRESHOLD, seed=1)
        cohort.values[0] = cohort.values[0] + np.uint8(shift)
        cohort.values[1] = cohort.values[1] - np.uint8(shift)
        outcomes.append(cohort.run())
    np.testing.assert_array_equal(*outcomes)
