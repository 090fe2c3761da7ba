import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.rounds.pace import GATHER_UP_TO_COHORTS
from evaluation.planning.assumptions import Assumptions
from evaluation.planning.demand import DAY_S, HOURS, NoRounds, activity, foresee, is_gathered, waiting_s

LARGE = Assumptions()
SMALL = Assumptions(devices=1000, report_goal=100, separation_rounds=1, secure_aggregation=False)
counts = st.integers(9_000_000, 10**9)


def day(given_: Assumptions):
    return foresee(given_, work_s=5.0, close_s=1.0)


@settings(max_examples=30)
@given(counts, counts)
def test_more_devices_call_more_and_wait_less(one: int, other: int) -> None:
    few, many = (day(replace(LARGE, devices=devices)) for devices in sorted((one, other)))
    assert few.calls_mean_per_s <= many.calls_mean_per_s
    assert few.calls_peak_per_s <= many.calls_peak_per_s
    assert few.selected_peak_per_s <= many.selected_peak_per_s
    assert few.rounds_a_day <= many.rounds_a_day * (1 + 1e-12)


@given(st.floats(1, 100))
def test_the_best_hour_has_the_swing_of_the_worst_and_the_mean_stays(swing: float) -> None:
    hours = [activity(replace(LARGE, swing=swing), hour) for hour in range(HOURS)]
    assert max(hours) == pytest.approx(swing * min(hours))
    assert sum(hours) == pytest.approx(HOURS)


def test_without_a_swing_all_rounds_take_as_long() -> None:
    even = day(replace(LARGE, swing=1.0))
    assert even.shortest_round_s == pytest.approx(even.longest_round_s)
    assert even.rounds_a_day == pytest.approx(DAY_S / even.shortest_round_s)
    assert even.calls_peak_per_s == pytest.approx(even.calls_mean_per_s)


def test_rounds_a_day_lie_between_those_of_the_best_and_the_worst_hour() -> None:
    found = day(LARGE)
    assert DAY_S / found.longest_round_s < found.rounds_a_day < DAY_S / found.shortest_round_s
    assert found.idle_hours == 0


def test_hours_in_which_no_cohort_gathers_have_no_rounds() -> None:
    found = day(replace(LARGE, selection_timeout_s=100.0, devices=9_000_000))
    assert 0 < found.idle_hours < HOURS
    assert found.rounds_a_day < day(replace(LARGE, devices=9_000_000)).rounds_a_day


def test_too_few_devices_is_one_sentence() -> None:
    with pytest.raises(NoRounds, match=r"^selection_timeout_s must be >= \d+ for 9000000 devices .+, got 10$"):
        day(replace(LARGE, selection_timeout_s=10.0, devices=9_000_000))


def test_plain_updates_wait_for_nobody() -> None:
    assert waiting_s(replace(LARGE, secure_aggregation=False)) == 0
    assert waiting_s(LARGE) == 30 + 4 * 60


def test_a_small_population_is_gathered_into_a_tenth_of_a_beat() -> None:
    assert is_gathered(SMALL)
    assert not is_gathered(replace(SMALL, devices=GATHER_UP_TO_COHORTS * SMALL.cohort + 1))
    found = day(SMALL)
    assert found.calls_peak_per_s == pytest.approx(10 * found.calls_mean_per_s * activity(SMALL, 0))


def test_calls_are_those_of_devices_that_sleep_when_they_are_told_to_call() -> None:
    """Devices with one eligible stretch a day, played out one by one for thirty days."""
    generator, num_devices, days = random.Random(3), 300, 30
    eligible_s, told_s = LARGE.eligible_hours * 3600, DAY_S / 1.5
    calls = 0
    for _ in range(num_devices):
        begins, now = generator.uniform(0, DAY_S), 0.0
        while now < days * DAY_S:
            since = (now - begins) % DAY_S
            now += 0.0 if since < eligible_s else DAY_S - since
            calls += 1
            now += told_s * (0.5 + generator.random())
    played = calls / num_devices / (days * DAY_S)
    assert day(LARGE).calls_mean_per_s / LARGE.devices == pytest.approx(played, rel=0.15)
