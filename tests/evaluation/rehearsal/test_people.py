from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.corpus import Message
from evaluation.rehearsal.people import draw_attackers, draw_cohorts, draw_seed, gather_people
from evaluation.rehearsal.settings import RehearsalSettings, small_size

DEVICES = [f"device {number}" for number in range(47)]


@given(cohort=st.integers(5, 47), rounds=st.integers(1, 30), seed=st.integers(0, 9))
def test_nobody_comes_again_before_full_cohorts_of_others_had_their_turn(cohort: int, rounds: int, seed: int) -> None:
    settings = small_size(cohort=cohort, rounds=rounds, seed=seed)
    cohorts = draw_cohorts(DEVICES, settings)
    assert [len(set(each)) for each in cohorts] == [cohort] * rounds
    a_turn = len(DEVICES) // cohort
    for first in range(0, rounds, a_turn):
        together = [device for each in cohorts[first : first + a_turn] for device in each]
        assert len(set(together)) == len(together)


def test_cohorts_follow_the_seed_and_not_the_order_of_devices() -> None:
    settings = small_size(rounds=3)
    assert draw_cohorts(DEVICES, settings) == draw_cohorts(DEVICES[::-1], settings)
    assert draw_cohorts(DEVICES, settings) != draw_cohorts(DEVICES, replace(settings, seed=2))


def test_too_few_devices_for_a_cohort_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 devices for a cohort, got 19"):
        draw_cohorts(DEVICES[:19], small_size())


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.05, 2), (0.2, 9)])
def test_attackers_are_the_nearest_number_to_their_share(share: float, expected: int) -> None:
    attackers = draw_attackers(DEVICES, small_size(attackers=share))
    assert len(attackers) == expected
    assert attackers <= set(DEVICES)


def test_fewer_attackers_are_among_more() -> None:
    few, many = (draw_attackers(DEVICES, small_size(attackers=share)) for share in (0.05, 0.2))
    assert few < many


def test_seeds_hang_on_all_parts() -> None:
    drawn = {draw_seed(seed, *parts) for seed in (1, 2) for parts in (("a", 1), ("a", 2), ("b", 1), ("a1",))}
    assert len(drawn) == 8
    assert all(0 <= seed < 2**48 for seed in drawn)


def test_held_out_people_never_train() -> None:
    messages = [
        Message(f"user {user}", float(minute), f"we saw user {user} number {minute}")
        for user in range(60)
        for minute in range(25)
    ]
    people = gather_people(messages, small_size(donor_share=0.2))
    assert people.donors
    assert people.training
    assert people.held_out
    assert not set(people.training) & set(people.held_out)
    of_held_out = {text for texts in people.held_out.values() for text in texts}
    assert not of_held_out & {text for texts in people.training.values() for text in texts}
    assert "user" not in repr(people)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attackers": 0.5}, "attackers must be in"),
        ({"attackers": float("nan")}, "attackers must be in"),
        ({"cohort": 4}, "cohort must be >= 5, got 4"),
        ({"group_size": 4}, "group_size must be >= 5, got 4"),
    ],
)
def test_settings_out_of_their_bounds_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_size(**changes)


def test_both_plans_train_alike() -> None:
    settings: RehearsalSettings = small_size(cohort=12)
    plain, secure = settings.plain_plan, settings.secure_plan
    assert (plain.tensors, plain.training, plain.privacy) == (secure.tensors, secure.training, secure.privacy)
    assert plain.quantiser is None
    assert secure.quantiser is not None
    assert secure.quantiser.max_cohort == 128
    assert plain.privacy.report_goal == 12
