"""How many devices make a group, and when: full ones at once, smaller ones at the end, unsafe ones never."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.coordination.secure.forming import group_sizes
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import Phase, Round
from aggregation_service.storage.secure_groups import Gathering
from protocol.plan import SecureAggregationParameters

SECURE = SecureAggregationParameters(
    value_bits=16, min_members=3, max_members=8, adversary_fraction=0.0, dropout_fraction=0.25, mode="semi_honest"
)
PARAMETERS = RoundParameters(minimum_reports=1, gather_s=30.0)
OPEN = Round(parameters=PARAMETERS, report_goal=50, opened_at=0.0, deadline_at=1000.0, selected=50)


@dataclass
class Case:
    """As much of a round as the forming of groups looks at."""

    state: Round = OPEN

    def sizes(self, waiting: int, *, now: float = 1.0, advertised: int = 0) -> list[int]:
        task = SimpleNamespace(plan=SimpleNamespace(secure_aggregation=SECURE), parameters=PARAMETERS)
        record: Any = SimpleNamespace(task=task, state=self.state)
        return group_sizes(record, Gathering(waiting=waiting, since=0.0, advertised=advertised or waiting), now)


@pytest.mark.parametrize(("waiting", "sizes"), [(0, []), (7, []), (8, [8]), (15, [8]), (16, [8, 8])])
def test_full_groups_are_formed_at_once(waiting: int, sizes: list[int]) -> None:
    assert Case().sizes(waiting) == sizes


@pytest.mark.parametrize(("waiting", "sizes"), [(3, []), (4, [4]), (7, [7]), (9, [4, 5]), (17, [5, 6, 6])])
def test_who_has_waited_for_long_is_in_a_group_of_those_there_are(waiting: int, sizes: list[int]) -> None:
    assert Case().sizes(waiting, now=31.0) == sizes


def test_nobody_is_waited_for_who_cannot_come() -> None:
    all_here = Case(replace(OPEN, phase=Phase.REPORTING, selected=5))
    assert all_here.sizes(5, advertised=5) == [5]
    assert all_here.sizes(4, advertised=4) == []  # the fifth still trains
    assert Case().sizes(5, now=1001.0) == [5]


@given(st.integers(0, 200), st.booleans())
def test_no_group_is_larger_or_smaller_than_it_may_be(waiting: int, is_late: bool) -> None:
    sizes = Case().sizes(waiting, now=31.0 if is_late else 1.0)
    assert all(4 <= size <= SECURE.max_members for size in sizes)  # of three none would be safe
    assert sum(sizes) <= waiting
    if is_late and waiting >= 4:
        assert sum(sizes) == waiting
