from typing import Any

import msgspec
import pytest

from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.rounds.parameters import RoundParameters


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum_reports": 0},
        {"over_selection": 0.9},
        {"over_selection": float("nan")},
        {"min_examples": -1},
        {"selection_timeout_s": 0.0},
        {"report_deadline_s": float("inf")},
        {"gather_s": -1.0},
        {"stage_timeout_s": 0.0},
        {"poll_s": 0},
    ],
)
def test_a_parameter_out_of_its_bound_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be between .* got"):
        RoundParameters(**{"minimum_reports": 1, **wrong})


@pytest.mark.parametrize(("goal", "over", "cohort"), [(20, 1.3, 26), (1, 1.0, 1), (3, 1.3, 4), (100, 1.1, 110)])
def test_cohort_size(goal: int, over: float, cohort: int) -> None:
    assert RoundParameters(minimum_reports=1, over_selection=over).cohort_size(goal) == cohort


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(trim=0.25)])
def test_parameters_are_read_as_they_were_written(rule: Combining) -> None:
    parameters = RoundParameters(minimum_reports=3, combining=rule)
    assert msgspec.json.decode(msgspec.json.encode(parameters), type=RoundParameters) == parameters


def test_tasks_from_before_there_was_a_choice_have_the_mean() -> None:
    assert msgspec.json.decode('{"minimum_reports":3,"poll_s":5}', type=RoundParameters).combining == Mean()
