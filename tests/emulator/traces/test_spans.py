"""Unions and differences of stretches of time, against a count of points."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.traces.spans import union, without

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


def points(spans):
    return {moment for start, end in spans for moment in range(start, end)}


@given(SPANS)
def test_a_union_holds_what_any_span_holds(spans):
    assert points(union(spans).spans) == points(spans)


@given(SPANS, SPANS)
def test_what_is_left_is_the_whole_without_the_holes(whole, holes):
    assert points(without(union(whole), union(holes)).spans) == points(whole) - points(holes)
