"""Stretches of time, added up and cut out of each other."""

from collections.abc import Iterable

from emulator.trace import Intervals

Span = tuple[float, float]


def union(spans: Iterable[Span]) -> Intervals:
    """All time that lies in any of `spans`; empty spans count for nothing.

    >>> union([(3, 5), (1, 2), (2, 2.5), (4, 4)]).spans
    ((1, 2.5), (3, 5))
    """
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return Intervals(tuple(joined))


def without(whole: Intervals, holes: Intervals) -> Intervals:
    """What is left of `whole` where none of `holes` is.

    >>> without(union([(0, 10)]), union([(2, 3), (9, 12)])).spans
    ((0, 2), (3, 9))
    """
    left: list[Span] = []
    for start, end in whole.spans:
        begin = start
        for hole_start, hole_end in holes.spans:
            if hole_end <= begin or hole_start >= end:
                continue
            left.append((begin, hole_start))
            begin = hole_end
        left.append((begin, end))
    return union(left)
