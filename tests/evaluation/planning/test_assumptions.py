import math
from dataclasses import fields

import pytest

from evaluation.planning.assumptions import Assumptions, source

BOUNDED = [known for known in fields(Assumptions) if "low" in known.metadata]


def test_every_assumption_says_where_it_is_from_and_what_it_is() -> None:
    for known in fields(Assumptions):
        assert source(known.name)
        assert f"{known.name}:" in str(Assumptions.__doc__)


@pytest.mark.parametrize("known", BOUNDED, ids=lambda known: known.name)
def test_out_of_bounds_is_one_sentence_with_name_bounds_and_value(known) -> None:
    for value in (known.metadata["low"] - 1, known.metadata["high"] * 2, math.nan):
        with pytest.raises(ValueError, match=f"^{known.name} must be between .+ and .+, got .+$"):
            Assumptions(**{known.name: value})


def test_a_round_must_be_able_to_find_its_reports() -> None:
    with pytest.raises(ValueError, match=r"over_selection must be >= 1 / \(1 - drop_out\), 1\.43"):
        Assumptions(drop_out=0.3)
    assert Assumptions(drop_out=0.3, over_selection=1.5).cohort == 9750


def test_devices_must_fill_the_rounds_while_others_stay_away() -> None:
    with pytest.raises(ValueError, match="devices must be >= cohort x separation_rounds, 8450 x 342"):
        Assumptions(devices=1_000_000)


def test_groups_are_those_of_the_report_goal() -> None:
    assert Assumptions().groups == 51
    assert Assumptions(secure_aggregation=False).groups == 0


def test_members_must_ask_before_their_stage_is_over() -> None:
    with pytest.raises(ValueError, match="poll_s must be <= stage_s, 60, for members to answer in time, got 61"):
        Assumptions(poll_s=61.0)
    assert Assumptions(poll_s=61.0, secure_aggregation=False).groups == 0
