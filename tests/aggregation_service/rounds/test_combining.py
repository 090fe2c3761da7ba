"""Robust rules against sorting by hand, and against those who send what they like."""

import random
import statistics
from fractions import Fraction
from math import ceil

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aggregation_service.rounds import combining
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean, coordinate_median, trimmed_mean
from protocol.arrays import FloatArray
from protocol.errors import NonFiniteUpdate

VALUES = st.floats(-1000, 1000, width=32)
UPDATES = arrays.arrays(np.float32, st.tuples(st.integers(1, 24), st.integers(1, 5)), elements=VALUES)
PERCENT = st.integers(1, 49)


def cut_by_hand(num_updates: int, percent: int) -> int:
    """In whole numbers: the share rounded up, as long as something is left."""
    return min(ceil(Fraction(percent * num_updates, 100)), (num_updates - 1) // 2)


@given(UPDATES)
def test_the_median_is_that_of_each_coordinate(updates: FloatArray) -> None:
    expected = [statistics.median(column) for column in updates.astype(np.float64).T.tolist()]
    assert coordinate_median(updates).tolist() == expected
    np.testing.assert_array_equal(coordinate_median(updates), np.median(updates.astype(np.float64), axis=0))


@given(UPDATES, PERCENT)
def test_the_trimmed_mean_is_that_of_what_is_left_of_each_coordinate(updates: FloatArray, percent: int) -> None:
    cut = cut_by_hand(len(updates), percent)
    left = [sorted(column)[cut : len(column) - cut] for column in updates.astype(np.float64).T.tolist()]
    expected = [statistics.fmean(column) for column in left]
    np.testing.assert_allclose(trimmed_mean(updates, percent / 100), expected, rtol=1e-12, atol=1e-9)


@given(UPDATES, PERCENT, st.randoms(use_true_random=False))
def test_the_order_of_the_updates_does_not_matter_and_they_stay_as_they_were(
    updates: FloatArray, percent: int, dice: random.Random
) -> None:
    before, shuffled = updates.copy(), updates[dice.sample(range(len(updates)), len(updates))]
    for rule in (Median(), TrimmedMean(trim=percent / 100)):
        np.testing.assert_array_equal(rule.combine(updates), rule.combine(shuffled))
    np.testing.assert_array_equal(updates, before)


@given(UPDATES, PERCENT, st.data())
def test_hostile_updates_no_more_than_are_cut_stay_between_honest_ones(
    updates: FloatArray, percent: int, data: st.DataObject
) -> None:
    """Whatever they send, as many as may be."""
    for rule, cut in (
        (Median(), (len(updates) - 1) // 2),
        (TrimmedMean(trim=percent / 100), cut_by_hand(len(updates), percent)),
    ):
        honest, sent = updates[cut:], st.sampled_from([-(2.0**100), -1.0, 0.0, 2.0**100])
        hostile = data.draw(arrays.arrays(np.float32, (cut, updates.shape[1]), elements=sent))
        combined = rule.combine(np.concatenate([hostile, honest]))
        rounding = 1e-9
        assert (combined >= honest.min(axis=0) - rounding).all()
        assert (combined <= honest.max(axis=0) + rounding).all()


def test_one_hostile_update_more_than_is_cut_is_let_in() -> None:
    """So the promise above is not kept by accident."""
    updates = np.concatenate([np.full((3, 1), 1e6), np.zeros((9, 1))])
    assert trimmed_mean(updates, 0.25) == [0.0]
    assert trimmed_mean(updates, 0.1) == [1e6 / 8]
    assert coordinate_median(np.array([[1e6], [1e6], [0.0]])) == [1e6]


@pytest.mark.parametrize(
    ("values", "median"),
    [([5], 5), ([1, 2], 1.5), ([3, 1, 9], 3), ([4, 1, 9, 2], 3), ([7, 7, 7, 0], 7), ([1, 1, 2, 2], 1.5)],
)
def test_the_table_of_the_median(values: list[float], median: float) -> None:
    assert coordinate_median(np.array(values, np.float32)[:, None]).tolist() == [median]


@pytest.mark.parametrize(
    ("num_updates", "cut"), [(1, 0), (2, 0), (3, 1), (4, 1), (10, 1), (11, 2), (20, 2), (30, 3), (1000, 100)]
)
def test_the_table_of_the_trimmed_mean(num_updates: int, cut: int) -> None:
    """Squares, so that each cut has a mean of its own; 0.1 * 30 is a little above 3 in float64."""
    values = np.square(np.arange(num_updates, dtype=np.float64))
    expected = values[cut : num_updates - cut].mean()
    assert trimmed_mean(values[::-1, None], 0.1).tolist() == pytest.approx([expected], rel=1e-12)


def test_two_float32_in_the_middle_are_halved_in_float64() -> None:
    updates = np.array([[1.0], [1.0 + 2.0**-23]], np.float32)
    assert coordinate_median(updates).tolist() == [1.0 + 2.0**-24]


def test_pieces_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = np.random.default_rng(5).normal(size=(9, 50)).astype(np.float32)
    whole = [coordinate_median(updates), trimmed_mean(updates, 0.2)]
    monkeypatch.setattr(combining, "_COLUMNS", 7)
    np.testing.assert_array_equal([coordinate_median(updates), trimmed_mean(updates, 0.2)], whole)


@pytest.mark.parametrize("rule", [Median(), TrimmedMean()])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_place_in_an_order(rule: Median | TrimmedMean, bad: float) -> None:
    updates = np.zeros((5, 3), np.float32)
    updates[2, 1] = bad
    with pytest.raises(NonFiniteUpdate):
        rule.combine(updates)


@pytest.mark.parametrize("rule", [Median(), TrimmedMean()])
@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3, 4)])
def test_what_is_no_list_of_updates_is_refused(rule: Median | TrimmedMean, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"updates must have shape \[num_updates >= 1, size\], got"):
        rule.combine(np.zeros(shape, np.float32))


@pytest.mark.parametrize("trim", [0.0, 0.5, -0.1, 1.0, float("nan"), float("inf")])
def test_a_trim_out_of_its_bound_is_refused(trim: float) -> None:
    with pytest.raises(ValueError, match=r"trim must be > 0 and < 0.5, got"):
        TrimmedMean(trim=trim)
    with pytest.raises(ValueError, match=r"trim must be > 0 and < 0.5, got"):
        trimmed_mean(np.zeros((5, 3), np.float32), trim)


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(), TrimmedMean(trim=0.25)])
def test_a_rule_is_read_as_it_was_written(rule: Combining) -> None:
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Combining) == rule


@pytest.mark.parametrize(
    "text", ['{"kind":"krum"}', '{"kind":"median","trim":0.1}', '{"kind":"trimmed-mean","trim":1}']
)
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Combining)
