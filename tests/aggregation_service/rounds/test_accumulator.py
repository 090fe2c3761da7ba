"""Sums and clips against numpy, and what a proposal leaves behind."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aggregation_service.rounds.accumulator import ClippedUpdate, PartialSum, clip_scaled
from protocol.clipping import clip_to_norm
from protocol.errors import NonFiniteUpdate
from protocol.update import ScaledUpdate, encode_update, read_update

FLOATS = arrays(np.float32, st.integers(0, 50), elements=st.floats(-(2.0**100), 2.0**100, width=32))
INTEGERS = arrays(np.int16, st.integers(0, 50), elements=st.integers(-(2**15), 2**15 - 1))


def plain(*values: float) -> ClippedUpdate:
    return ClippedUpdate(np.array(values, np.float32), 1.0, was_clipped=False)


def as_float64(update: ClippedUpdate) -> np.ndarray:
    return update.values.astype(np.float64) * update.scale


def test_sums_in_float64() -> None:
    """Ten thousand small numbers beside a large one: a float32 sum would lose them all."""
    partial = PartialSum(1)
    partial.propose([plain(2.0**24)])
    partial.accept()
    for _ in range(100):
        partial.propose([plain(0.5)] * 100)
        partial.accept()
    assert (partial.total[0], partial.num_updates) == (2**24 + 5000, 10_001)


@pytest.mark.parametrize("size", [1, 1 << 18, (1 << 18) + 1])
def test_sums_both_formats_over_all_chunks(size: int) -> None:
    generator = np.random.default_rng(3)
    integers = generator.integers(-(2**15), 2**15, size).astype(np.int16)
    floats = generator.normal(size=size).astype(np.float32)
    partial = PartialSum(size)
    proposed = partial.propose([ClippedUpdate(integers, 0.25, False), ClippedUpdate(floats, 0.5, True)])
    assert proposed.num_updates == 2
    np.testing.assert_array_equal(proposed.total, integers * 0.25 + floats.astype(np.float64) * 0.5)


def test_a_proposal_that_is_not_accepted_leaves_no_trace() -> None:
    partial = PartialSum(2)
    partial.propose([plain(1, 2)])
    partial.accept()
    partial.propose([plain(10, 10), plain(7, 7)])
    again = partial.propose([plain(0.5, 0.5)])
    assert (again.total.tolist(), again.num_updates) == ([1.5, 2.5], 2)
    assert (partial.total.tolist(), partial.num_updates) == ([1, 2], 1)


def test_a_wrong_shape_changes_nothing() -> None:
    partial = PartialSum(2)
    with pytest.raises(ValueError, match=r"update must have shape \(2,\), got \(1,\)"):
        partial.propose([plain(1)])  # numpy would broadcast it
    partial.propose([])
    partial.accept()
    assert partial.num_updates == 0
    assert not partial.total.any()


def test_memory_does_not_grow_with_the_cohort() -> None:
    """A hundred reports of 400 kB each leave two vectors of 1.6 MB."""
    size = 200_000
    payload = encode_update(np.linspace(-1e-3, 1e-3, size, dtype=np.float32), "int16")
    partial = PartialSum(size)
    tracemalloc.start()
    try:
        for _ in range(25):
            received = [bytes(bytearray(payload)) for _ in range(4)]
            partial.propose([clip_scaled(read_update(body, size, "int16"), 1.0) for body in received])
            partial.accept()
            del received
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert partial.num_updates == 100
    assert held < 100_000
    assert peak < 4 * len(payload) + 3_000_000


@given(FLOATS, st.floats(1e-6, 1e3))
def test_a_clipped_update_is_no_longer_than_allowed(values: np.ndarray, l2_clip_norm: float) -> None:
    clipped = clip_scaled(ScaledUpdate(values, 1.0), l2_clip_norm)
    exact = as_float64(clipped)
    assert np.linalg.norm(exact) <= l2_clip_norm * (1 + 1e-14)
    assert clipped.was_clipped == clip_to_norm(values, l2_clip_norm).was_clipped
    np.testing.assert_allclose(exact, clip_to_norm(values, l2_clip_norm).update, rtol=1e-6, atol=1e-37)


@given(INTEGERS, st.floats(0, 2.0**100, width=32), st.floats(1e-6, 1e3))
def test_integers_are_clipped_by_their_scale_alone(values: np.ndarray, scale: float, l2_clip_norm: float) -> None:
    clipped = clip_scaled(ScaledUpdate(values, scale), l2_clip_norm)
    assert clipped.values is values
    norm = scale * np.sqrt(float(np.dot(values.astype(np.int64), values.astype(np.int64))))
    assert clipped.was_clipped == (norm > l2_clip_norm)
    assert np.linalg.norm(as_float64(clipped)) <= l2_clip_norm * (1 + 1e-14)
    assert clipped.was_clipped or clipped.scale == scale


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 49_999])
def test_values_that_are_not_finite_are_refused(value: float, place: int) -> None:
    values = np.zeros(50_000, np.float32)
    values[place] = value
    with pytest.raises(NonFiniteUpdate):
        clip_scaled(ScaledUpdate(values, 1.0), 1.0)
