from typing import Any

import msgspec
import pytest

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.rounds.parameters import RoundParameters

LIMITS = ("separation_rounds", "max_participations")


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
        {"separation_rounds": 2},
        {"max_participations": 1},
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


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("separation_rounds", 0)]
    + [(name, wrong) for name in LIMITS for wrong in (-1, float("nan"), float("inf"), 65_537)],
)
def test_absurd_limits_of_a_stream_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be between .* and 65536, got"):
        RoundParameters(**{"minimum_reports": 1, "mechanism": Tree(restart_every=8), name: wrong})


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(trim=0.1)])
def test_a_robust_rule_has_no_noise_to_correlate(rule: Combining) -> None:
    with pytest.raises(ValueError, match="combining must be the mean for correlated noise, got the coordinate-wise"):
        RoundParameters(minimum_reports=3, combining=rule, mechanism=Tree(restart_every=8))


@pytest.mark.parametrize(
    "mechanism",
    [
        Tree(restart_every=64),
        BandedToeplitz(coefficients=(1.0, 0.1, 0.05)),
        BufferedToeplitz(decays=(0.987654321012345, 1 / 3), scales=(0.1, 2 / 3)),
    ],
)
def test_a_mechanism_is_frozen_with_its_task(mechanism: Mechanism) -> None:
    parameters = RoundParameters(minimum_reports=3, mechanism=mechanism, separation_rounds=7, max_participations=9)
    assert msgspec.json.decode(msgspec.json.encode(parameters), type=RoundParameters) == parameters


def test_tasks_from_before_there_were_streams_have_fresh_noise() -> None:
    old = msgspec.json.decode('{"minimum_reports":3,"poll_s":5}', type=RoundParameters)
    assert (old.mechanism, old.separation_rounds, old.max_participations) == (Independent(), 1, 0)


@pytest.mark.parametrize(
    "mechanism",
    ['{"kind":"tree","restart_every":3}', '{"kind":"buffered_toeplitz","decays":[1.5],"scales":[0.1]}', '{"kind":"x"}'],
)
def test_an_absurd_mechanism_is_not_read(mechanism: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"minimum_reports":3,"mechanism":{mechanism}}}', type=RoundParameters)
