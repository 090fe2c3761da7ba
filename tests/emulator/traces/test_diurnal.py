"""Days and nights: a swing of four over a fleet, by time zone, drawn again the same."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.trace import DAY_S, HOUR_S
from emulator.traces.diurnal import DiurnalTrace, Habits

MONDAY = 20_458 * DAY_S


def eligible_by_hour(zone_s, devices=350, days=2):
    found = Counter()
    for index in range(devices):
        trace = DiurnalTrace(seed=f"1 {index}", zone_s=zone_s)
        for day in range(days):
            for hour in range(24):
                found[hour] += trace.conditions(MONDAY + day * DAY_S + (hour + 0.5) * HOUR_S).eligible
    return found


def test_four_times_as_many_devices_may_act_in_the_best_hour_as_in_the_worst():
    found = eligible_by_hour(0.0)
    assert 3.0 <= max(found.values()) / min(found.values()) <= 5.0
    assert max(found, key=found.get) in range(5), "at night"
    assert min(found, key=found.get) in range(8, 22), "by day"


def test_nights_come_with_the_time_zone():
    ahead = eligible_by_hour(8 * HOUR_S, devices=200)
    assert max(ahead, key=ahead.get) in range(16, 22)


@given(st.floats(0, 30 * DAY_S), st.integers(0, 50))
def test_the_next_eligible_moment_is_eligible_and_nothing_before_it_is(after_s, index):
    trace = DiurnalTrace(seed=str(index), zone_s=-5 * HOUR_S)
    at = MONDAY + after_s
    found = trace.next_eligible(at)
    assert found is not None
    assert found >= at
    assert trace.conditions(found).eligible
    assert not any(trace.conditions(at + share * (found - at)).eligible for share in (0, 0.3, 0.9, 0.999) if found > at)


def test_the_same_seed_draws_the_same_days():
    one, other = DiurnalTrace(seed="7"), DiurnalTrace(seed="7")
    times = [MONDAY + hour * HOUR_S for hour in range(100)]
    assert [one.conditions(at) for at in times] == [other.conditions(at) for at in times]


def test_a_device_in_a_drawer_does_nothing_until_it_is_taken_out():
    until = MONDAY + 20 * DAY_S
    trace = DiurnalTrace(seed="7", absent=((MONDAY, until),))
    assert until <= trace.next_eligible(MONDAY) < until + 2 * DAY_S
    assert trace.conditions(until - 1).explain()


def test_one_who_never_charges_may_never_act():
    habits = Habits(nights_charged=0.0, day_rests=0.0)
    assert DiurnalTrace(seed="7", habits=habits).next_eligible(MONDAY) is None


def test_lost_connections_cost_time():
    def share(losses):
        traces = [DiurnalTrace(seed=str(index), habits=Habits(losses_per_day=losses)) for index in range(80)]
        return sum(trace.conditions(MONDAY + hour * HOUR_S).eligible for trace in traces for hour in range(48))

    assert share(40.0) < 0.9 * share(0.0)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_days_do_not_run_into_each_other(seed):
    trace = DiurnalTrace(seed=seed)
    moment, seen = MONDAY, 0
    while moment < MONDAY + 5 * DAY_S:
        moment = trace.next_eligible(moment)
        seen += 1
        moment += 600
    assert seen > 50
