"""Members that seal well, but wrong shares: the sum is the true one, or the group ends in the open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.messages import EncryptedShares, decode, split_bytes
from protocol.secure_aggregation.shamir import SHARE_BYTES, split
from protocol.secure_aggregation.shares import SEALED_BYTES, NeighbourShares, seal
from tests.protocol.secure_aggregation.cohort import MASK, SHARE, changed, cohort_at

NUM_DEVICES, THRESHOLD = 8, 3
KINDS = ("noise", "another secret", "no numbers of the field")


def noise(cohort):
    return cohort.random_bytes(SHARE_BYTES - 1).rjust(SHARE_BYTES, b"\x00")


def wrong_shares(cohort, membership, kind):
    """As many as there are neighbours, of no secret or of another one."""
    points = [neighbour + 1 for neighbour in membership.neighbours]
    if kind == "noise":
        drawn = [(noise(cohort), noise(cohort)) for _ in points]
    elif kind == "no numbers of the field":
        drawn = [(b"\xff" * SHARE_BYTES, b"\xff" * SHARE_BYTES)] * len(points)
    else:
        drawn = zip(
            *(split(bytes([fill] * 32), THRESHOLD, points, cohort.random_bytes) for fill in (1, 2)), strict=True
        )
    return [NeighbourShares(*pair) for pair in drawn]


def lies(cohort, device, num_deceived, kind):
    """A device's shares, of which those for its first neighbours are wrong; nobody can tell when they are opened."""
    answer = cohort.answer(device, cohort.tell(device))
    secrets, membership = cohort.devices[device]._secrets, cohort.devices[device]._membership
    sealed = split_bytes(decode(answer, EncryptedShares).sealed, SEALED_BYTES, len(membership.neighbours), "sealed")
    deceived = list(zip(membership.neighbours, wrong_shares(cohort, membership, kind), strict=True))[:num_deceived]
    sealed[:num_deceived] = [
        seal(
            shares,
            secrets._sealing_key(membership, neighbour),
            session_id=membership.session_id,
            sender=membership.index,
            receiver=neighbour,
            random_bytes=cohort.random_bytes,
        )
        for neighbour, shares in deceived
    ]
    return changed(answer, EncryptedShares, sealed=b"".join(sealed))


def run(deceived, kind, *, vanish=False, seed=0):
    """A session in which each device of `deceived` lies to so many neighbours, and may vanish once it has."""
    cohort = cohort_at(SHARE, num_devices=NUM_DEVICES, threshold=THRESHOLD, seed=seed)
    for device in range(NUM_DEVICES):
        if device in deceived:
            cohort.receive(device, lies(cohort, device, deceived[device], kind))
        else:
            cohort.play(device)
    cohort.close()
    cohort.run({(MASK, device) for device in deceived} if vanish else ())
    assert len(cohort.survivors) == NUM_DEVICES - len(deceived) * vanish
    return cohort


@pytest.mark.parametrize("vanish", [False, True], ids=["survives", "drops out"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deceived", [{2: 1}, {2: 2}, {2: 1, 5: 1}, {2: 2, 5: 2}], ids=str)
def test_where_enough_shares_are_right_the_sum_is_the_true_one(deceived, kind, vanish):
    cohort = run(deceived, kind, vanish=vanish)
    np.testing.assert_array_equal(cohort.outcome, cohort.true_sum())


@pytest.mark.parametrize("vanish", [False, True], ids=["survives", "drops out"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deceived", [{2: 5}, {2: 7}, {2: 7, 5: 7}, {2: 7, 5: 1}], ids=str)
def test_where_too_few_are_right_the_group_ends_in_the_open(deceived, kind, vanish):
    assert isinstance(run(deceived, kind, vanish=vanish).outcome, GroupFailed)


@given(
    deceived=st.dictionaries(st.integers(0, NUM_DEVICES - 1), st.integers(1, 7), min_size=1, max_size=2),
    kind=st.sampled_from(KINDS),
    vanish=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=12, deadline=None)
def test_no_sum_is_ever_wrong(deceived, kind, vanish, seed):
    cohort = run(deceived, kind, vanish=vanish, seed=seed)
    if not isinstance(cohort.outcome, GroupFailed):
        np.testing.assert_array_equal(cohort.outcome, cohort.true_sum())
