"""Survivors: one bit each, enough of them, and in one part."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.secure_aggregation.errors import WrongSurvivors
from protocol.secure_aggregation.graph import neighbours, ring_order
from protocol.secure_aggregation.survivors import from_bitmap, require_one_sum, to_bitmap


@given(st.integers(1, 100).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_a_bitmap_names_its_members(case):
    num_members, members = case
    bitmap = to_bitmap(members, num_members)
    assert len(bitmap) == -(-num_members // 8)
    assert from_bitmap(bitmap, num_members) == members


@pytest.mark.parametrize("bitmap", [b"", b"\x01", b"\x01\x00\x00", b"\x00\x02", b"\xff\xff"])
def test_a_bitmap_of_another_length_or_of_others_is_refused(bitmap):
    with pytest.raises(MalformedMessage):
        from_bitmap(bitmap, 9)


def parts(survivors, order, degree):
    """By searching the graph: how many parts the survivors are in."""
    left, count = set(survivors), 0
    while left:
        count += 1
        reached = [left.pop()]
        while reached:
            found = left & set(neighbours(order, degree, reached.pop()))
            left -= found
            reached += found
    return count


@given(
    n=st.integers(2, 24),
    half=st.integers(1, 4),
    bits=st.integers(0, 2**24 - 1),
    seed=st.binary(min_size=32, max_size=32),
)
def test_survivors_hang_together_exactly_if_a_search_of_the_graph_says_so(n, half, bits, seed):
    degree = 2 * half if 2 * half < n - 1 else n - 1
    survivors = frozenset(member for member in range(n) if bits >> member & 1)
    assume(survivors)
    order = ring_order(seed, n)
    if parts(survivors, order, degree) == 1:
        require_one_sum(survivors, order, degree, 1)
    else:
        with pytest.raises(WrongSurvivors, match="hang together"):
            require_one_sum(survivors, order, degree, 1)


def test_too_few_survivors_are_refused():
    order = ring_order(bytes(32), 10)
    require_one_sum(frozenset(range(7)), order, 9, 7)
    with pytest.raises(WrongSurvivors, match=">= 7, got 6"):
        require_one_sum(frozenset(range(6)), order, 9, 7)
    with pytest.raises(WrongSurvivors, match=">= 1, got 0"):
        require_one_sum(frozenset(), order, 9, 0)
