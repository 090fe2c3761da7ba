"""The gate's arithmetic, and its decisions at every edge."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.policy import PopulationPolicy
from aggregation_service.releases.gate import LEAST_TARGETS_IN_NOISE, EvaluationResult, judge, read_result, tell
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums

ANY = PopulationPolicy(gate_margin=-1.0)


def result_of(*, baseline_version=3, noise_stddev=0.0, **changes):
    sums = {
        "candidate": ModelSums(250, 400, 4_000),
        "baseline": ModelSums(240, 390, 4_100),
        "num_targets": 1_000.0,
    }
    return read_result(
        EvaluationSums(**(sums | changes)),
        candidate_version=5,
        baseline_version=baseline_version,
        num_reports=10,
        noise_stddev=noise_stddev,
    )


def test_ratios_are_of_the_same_targets():
    result = result_of()
    assert (result.top1_candidate, result.top3_candidate, result.loss_candidate) == (0.25, 0.4, 4.0)
    assert (result.top1_baseline, result.top3_baseline, result.loss_baseline) == (0.24, 0.39, 4.1)
    assert (result.standard_error, result.num_reports, result.unreadable_because) == (0, 10, None)


@pytest.mark.parametrize("num_targets", [0.0, -3.0, 1e-300, 4.999 * 20])
def test_a_number_of_targets_that_may_be_noise_is_not_divided_by(num_targets):
    result = result_of(num_targets=num_targets, noise_stddev=20.0)
    assert "num_targets must be" in result.unreadable_because
    assert result.top1_candidate is result.standard_error is result.loss_baseline is None
    assert judge(result, ANY, 3) == (False, f"the evaluation cannot be read: {result.unreadable_because}")


def test_the_bound_on_targets_is_inclusive_and_without_noise_only_zero():
    assert result_of(num_targets=LEAST_TARGETS_IN_NOISE * 20.0, noise_stddev=20.0).unreadable_because is None
    assert result_of(num_targets=1.0).unreadable_because is None
    assert result_of(num_targets=0.0).unreadable_because is not None


@pytest.mark.parametrize("baseline_version", [3, None])
def test_the_standard_error_is_that_of_simulated_noise(baseline_version):
    generator = np.random.default_rng(3)
    stddev = 20.0
    clean = np.array([250, 400, 500, 240 if baseline_version else 0, 390, 512, 1_000.0])
    gains = []
    for noise in generator.normal(scale=stddev, size=(4_000, 7)):
        sums = EvaluationSums.from_vector(clean + noise)
        found = read_result(
            sums, candidate_version=5, baseline_version=baseline_version, num_reports=1, noise_stddev=stddev
        )
        gains.append(found.top1_candidate - found.top1_baseline)
    told = result_of(baseline_version=baseline_version, noise_stddev=stddev).standard_error
    assert told == pytest.approx(np.std(gains), rel=0.06)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
def test_a_candidate_passes_iff_it_wins_by_the_margin(candidate, baseline, margin):
    result = result_of(
        candidate=ModelSums(1e6 * candidate, 0, 0), baseline=ModelSums(1e6 * baseline, 0, 0), num_targets=1e6
    )
    passed, because = judge(result, PopulationPolicy(gate_margin=margin), 3)
    assert passed == (result.top1_candidate - result.top1_baseline >= margin)
    assert f"{margin + 0.0:+.4f}" in because  # -0.0 is told as 0


@pytest.mark.parametrize("standard_errors", [0.0, 1.0, 1.645])
def test_noise_alone_lets_a_candidate_through_as_seldom_as_the_policy_says(standard_errors):
    """A candidate whose true gain is the margin exactly, in 4,000 draws of the noise; within 5 standard errors."""
    generator = np.random.default_rng(11)
    policy = PopulationPolicy(gate_margin=0.02, gate_standard_errors=standard_errors)
    clean, stddev, draws = np.array([260, 400, 500, 240, 390, 512, 1_000.0]), 10.0, 4_000
    passed = 0
    for noise in generator.normal(scale=stddev, size=(draws, 7)):
        sums = EvaluationSums.from_vector(clean + noise)
        result = read_result(sums, candidate_version=5, baseline_version=3, num_reports=1, noise_stddev=stddev)
        passed += judge(result, policy, 3)[0]
    share = 1 - NormalDist().cdf(standard_errors)
    assert passed / draws == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / draws))


def test_a_gain_within_the_noise_is_refused_and_the_decision_says_what_was_asked():
    result = result_of(noise_stddev=10.0)  # +0.0100 ± 0.0141
    passed, because = judge(result, PopulationPolicy(gate_margin=0.005), 3)
    assert not passed
    assert because.endswith(
        "+0.0100 ± 0.0141 over version 3; "
        "the policy asks for +0.0050 and 1.645 standard errors of the noise, +0.0283, which it has not"
    )
    assert judge(result, PopulationPolicy(gate_margin=0.005, gate_standard_errors=0), 3)[0]


def test_without_a_release_there_is_nothing_to_compare_with():
    result = result_of(baseline_version=None, baseline=NO_MODEL)
    assert (result.top1_baseline, result.top3_baseline, result.loss_baseline) == (0, 0, 0)
    passed, because = judge(result, PopulationPolicy(gate_margin=0.9), None)
    assert passed
    assert "no release to compare with" in because


def test_noise_on_a_baseline_that_there_is_not_is_left_out():
    result = result_of(baseline_version=None, baseline=ModelSums(-7.5, 12.0, 3.0), noise_stddev=10.0)
    assert (result.top1_baseline, result.top3_baseline, result.loss_baseline) == (0, 0, 0)
    assert result.standard_error == pytest.approx(math.sqrt(1 + 0.25**2) * 10 / 1_000)


@pytest.mark.parametrize(("baseline", "current"), [(3, 4), (3, None), (None, 3)])
def test_a_comparison_with_what_is_not_out_any_more_decides_nothing(baseline, current):
    passed, because = judge(result_of(baseline_version=baseline), ANY, current)
    assert not passed
    assert "is out now" in because


def test_a_result_is_told_in_words():
    assert tell(result_of(noise_stddev=10.0)) == "version 5 has top-1 recall 0.2500, +0.0100 ± 0.0141 over version 3"
    unreadable = EvaluationResult(candidate_version=5, baseline_version=3, num_targets=0, num_reports=2)
    assert tell(unreadable) == "version 5 could not be evaluated"
