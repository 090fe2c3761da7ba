"""Traces say when a device is eligible, and when it will be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.trace import DAY_S, HOUR_S, Intervals, Trace, nightly_trace

EDGES = st.lists(st.integers(0, 60), unique=True, max_size=12).map(sorted)
INTERVALS = EDGES.map(lambda edges: Intervals(tuple(zip(edges[::2], edges[1::2], strict=False))))
TRACES = st.builds(Trace, idle=INTERVALS, charging=INTERVALS, unmetered=INTERVALS)


@given(INTERVALS, st.integers(-1, 61))
def test_intervals_agree_with_a_scan(intervals, at):
    around = [end for start, end in intervals.spans if start <= at < end]
    assert intervals.hold(at) == bool(around)
    assert intervals.end_of(at) == (around[0] if around else None)
    assert intervals.next_start(at) == min((start for start, _ in intervals.spans if start > at), default=None)


@given(TRACES, st.integers(-1, 61))
def test_the_next_eligible_time_is_the_first(trace, at):
    eligible = [moment for moment in range(at, 62) if trace.conditions(moment).eligible]
    assert trace.next_eligible(at) == (eligible[0] if eligible else None)


@pytest.mark.parametrize("spans", [((3, 2),), ((1, 1),), ((1, 3), (2, 4)), ((5, 6), (1, 2))])
def test_intervals_out_of_order_are_refused(spans):
    with pytest.raises(ValueError, match="in order"):
        Intervals(spans)


@given(st.integers())
def test_nights_are_at_night_and_follow_the_seed(seed):
    trace = nightly_trace(random.Random(seed), first_midnight=10 * DAY_S, nights=3)
    assert trace == nightly_trace(random.Random(seed), first_midnight=10 * DAY_S, nights=3)
    for night in range(3):
        midnight = (10 + night) * DAY_S
        assert trace.conditions(midnight + 2 * HOUR_S).eligible
        assert not trace.conditions(midnight + 12 * HOUR_S).eligible
    assert trace.next_eligible(13 * DAY_S + 12 * HOUR_S) is None
