"""The slope of memory, against a regression with a column for each process, and against what is known of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.soaking.memory import WARM_UP, Memory, fit_slope
from emulator.soaking.processes import Resident

lengths = st.lists(st.integers(2, 12), min_size=1, max_size=5)


def drawn(seed, lengths, slope, noise):
    """Lives of processes: each begins at a round and at a level of its own."""
    generator = np.random.default_rng(seed)
    lives = []
    for length in lengths:
        rounds = generator.integers(0, 50) + np.arange(length)
        sizes = generator.uniform(5e4, 2e5) + slope * rounds + generator.normal(0, noise, length)
        lives.append(list(zip(rounds.tolist(), sizes.tolist(), strict=True)))
    return lives


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), lengths=lengths.filter(lambda each: sum(each) - len(each) > 1))
def test_it_is_the_slope_of_a_regression_with_a_level_for_each_process(seed, lengths):
    lives = drawn(seed, lengths, 30.0, 200.0)
    columns = [
        [float(place == number) for number in range(len(lives))] + [rounds]
        for place, life in enumerate(lives)
        for rounds, _ in life
    ]
    sizes = [size for life in lives for _, size in life]
    expected = np.linalg.lstsq(np.asarray(columns), np.asarray(sizes), rcond=None)[0][-1]
    found = fit_slope("service", lives)
    assert found.kb_per_round == pytest.approx(expected, abs=1e-3)
    assert found.low < found.kb_per_round < found.high
    assert (found.samples, found.processes) == (sum(lengths), len(lengths))


def test_its_interval_holds_the_truth_as_often_as_it_says():
    held = [
        found.low <= 30.0 <= found.high
        for seed in range(600)
        if (found := fit_slope("service", drawn(seed, [6, 9], 30.0, 300.0)))
    ]
    assert 0.925 < np.mean(held) < 0.975  # 0.95, give or take three standard errors


@pytest.mark.parametrize(
    "lives", [[], [[(1, 5.0)]], [[(1, 5.0), (2, 6.0)]], [[(3, 5.0), (3, 6.0), (3, 7.0)]]],
    ids=["none", "one point", "no room for an interval", "one round"],
)  # fmt: skip
def test_too_few_points_have_no_slope(lives):
    assert fit_slope("service", lives) is None


def test_each_process_warms_up_first():
    memory = Memory()
    for rounds in range(WARM_UP + 6):
        warm = rounds < WARM_UP
        memory.note(
            rounds, [Resident(role="service", pid=7, kilobytes=1000.0 * rounds if warm else 9000.0 + rounds % 2)]
        )
    (slope,) = memory.slopes()
    assert abs(slope.kb_per_round) < 1
    assert slope.samples == 6
    assert [(each.rounds_ended, each.megabytes) for each in memory.totals()][:3] == [(0, 0.0), (1, 1.0), (2, 2.0)]
