import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.split import position, split_by_time, split_senders

USERS = [f"user-{index}" for index in range(2_000)]
names = st.lists(st.text(max_size=8), max_size=40)


@given(names, st.integers(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_each_sender_has_one_role(users: list[str], seed: int, donors: float, held_out: float) -> None:
    split = split_senders(users, seed=seed, donor_share=donors, held_out_share=held_out)
    together = [*split.donors, *split.devices, *split.held_out]
    assert sorted(together) == sorted(set(users))


@given(names, names, st.integers(0, 9))
def test_who_joins_moves_nobody_else(users: list[str], more: list[str], seed: int) -> None:
    before = split_senders(users, seed=seed)
    after = split_senders([*more, *users], seed=seed)
    for role, senders in before._asdict().items():
        assert set(senders) <= set(getattr(after, role))


def test_shares_are_met_and_the_seed_matters() -> None:
    split = split_senders(USERS, seed=1)
    assert len(split.donors) == pytest.approx(400, abs=60)
    assert len(split.held_out) == pytest.approx(400, abs=60)
    assert split_senders(USERS, seed=2).donors != split.donors


def test_position_is_the_documented_hash() -> None:
    digest = hashlib.sha256(b"7\nanna").hexdigest()
    assert position("anna", 7) == int(digest[:12], 16) / 16**12


@pytest.mark.parametrize(("donors", "held_out"), [(-0.1, 0.2), (0.2, -0.1), (0.6, 0.5), (float("nan"), 0.1)])
def test_absurd_shares_are_refused(donors: float, held_out: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        split_senders(USERS, seed=1, donor_share=donors, held_out_share=held_out)


def test_edges_of_shares() -> None:
    assert split_senders(USERS, seed=1, donor_share=1.0, held_out_share=0.0).donors == sorted(USERS)
    assert split_senders(USERS, seed=1, donor_share=0.0, held_out_share=1.0).held_out == sorted(USERS)
    assert split_senders(USERS, seed=1, donor_share=0.0, held_out_share=0.0).devices == sorted(USERS)


@given(st.lists(st.integers(), min_size=2, max_size=300), st.floats(0.01, 0.99))
def test_the_last_are_for_testing(messages: list[int], share: float) -> None:
    train, test = split_by_time(messages, share)
    assert [*train, *test] == messages
    assert train
    assert test
    assert abs(len(test) - share * len(messages)) <= 1


def test_a_fifth_is_a_fifth() -> None:
    assert split_by_time(range(20)) == (range(16), range(16, 20))


@pytest.mark.parametrize(("messages", "share"), [([1], 0.2), ([], 0.2), ([1, 2], 0.0), ([1, 2], 1.0)])
def test_what_cannot_be_split_is_refused(messages: list[int], share: float) -> None:
    with pytest.raises(ValueError, match="must"):
        split_by_time(messages, share)
