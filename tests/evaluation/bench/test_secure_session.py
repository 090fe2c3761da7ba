import numpy as np
import pytest

from evaluation.bench.secure_session import Members, NoSession, Setting
from protocol.secure_aggregation.masked_input import read_masked_input
from protocol.secure_aggregation.messages import EncryptedShares, UnmaskingShares, decode
from protocol.secure_aggregation.shamir import SHARE_BYTES, combine
from protocol.secure_aggregation.shares import SEALED_BYTES
from protocol.secure_aggregation.signing import self_mask_digest
from protocol.secure_aggregation.sizing import check_is_safe

SETTING = Setting(num_members=40, vector_length=50, mode="semi_honest", dropping_out=0.1)


@pytest.fixture(scope="module")
def members() -> Members:
    return Members(SETTING)


def test_the_published_size_is_what_the_target_names() -> None:
    published = Setting(num_members=1000, mode="semi_honest", dropout_fraction=0.05)
    assert published.graph_size.degree == 30
    assert published.vector_length == 1_422_250


@pytest.mark.parametrize("mode", ["semi_honest", "malicious"])
def test_devices_would_accept_the_graph(mode) -> None:
    setting = Setting(num_members=128, vector_length=10, mode=mode)
    terms, (degree, threshold) = setting.terms, setting.graph_size
    fractions = {"adversary_fraction": terms.adversary_fraction, "dropout_fraction": terms.dropout_fraction}
    check_is_safe(128, degree, threshold, **fractions, mode=mode)


def test_who_drops_out_is_drawn_once_and_as_many_as_asked(members: Members) -> None:
    assert SETTING.num_dropped == 4
    assert members.dropped == SETTING.dropped()
    assert members.dropped | members.survivors == set(members.everyone)
    assert Setting(num_members=40, vector_length=50, seed=1).dropped() != members.dropped


def test_updates_are_longer_than_the_clip_and_differ() -> None:
    first, second = SETTING.update(0), SETTING.update(1)
    assert np.linalg.norm(first) == pytest.approx(2 * SETTING.quantiser.l2_clip_norm, rel=1e-5)
    assert not np.array_equal(first, second)


def test_what_is_sealed_has_the_length_that_devices_send(members: Members) -> None:
    message = decode(members.encrypted_shares(3), EncryptedShares)
    assert message.sender == 3
    assert len(message.sealed) == SEALED_BYTES * members.group.parameters.degree


def test_masked_inputs_hide_the_update(members: Members) -> None:
    index = min(members.survivors)
    group = members.group
    masked = read_masked_input(members.masked_input(index), group.parameters, group.session_id, index)
    assert np.count_nonzero(masked == members._inputs[index % 4]) < 5


def test_revealed_shares_give_back_what_their_owner_signed(members: Members) -> None:
    owner = min(members.survivors)
    group = members.group
    shares = {}
    for neighbour in group.neighbours[owner]:
        message = decode(members.unmasking_shares(neighbour), UnmaskingShares)
        place = SHARE_BYTES * group.neighbours[neighbour].index(owner)
        shares[neighbour + 1] = message.shares[place : place + SHARE_BYTES]
    seed = combine(shares, group.parameters.threshold)
    assert self_mask_digest(seed) == group.bundles[owner].self_mask_digest


def test_a_group_that_is_too_small_is_an_error(members: Members) -> None:
    with pytest.raises(NoSession, match="members must be >="):
        SETTING.form_group(members.group.bundles[:10])
