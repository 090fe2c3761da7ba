"""The clipping norm is a bound, whatever the float32 rounding does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocol.clipping import clip_to_norm, l2_norm
from protocol.errors import NonFiniteUpdate

UPDATES = arrays(np.float32, st.integers(0, 50), elements=st.floats(allow_nan=False, allow_infinity=False, width=32))
NORMS = st.floats(1e-6, 1e3)


@given(UPDATES, NORMS)
def test_the_norm_is_bounded_and_clipping_twice_changes_nothing(update, norm):
    clipped = clip_to_norm(update, norm)
    exact = np.linalg.norm(clipped.update.astype(np.longdouble))
    assert exact <= norm * (1 + 1e-12)
    again = clip_to_norm(clipped.update, norm)
    assert not again.was_clipped
    np.testing.assert_array_equal(again.update, clipped.update)


@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-100, 100, width=32)), NORMS)
def test_the_direction_stays_and_short_updates_are_left_alone(update, norm):
    clipped = clip_to_norm(update, norm)
    if clipped.was_clipped:
        expected = update.astype(np.float64) * (norm / l2_norm(update))
        np.testing.assert_allclose(clipped.update, expected, rtol=1e-5, atol=1e-30)
    else:
        assert clipped.update is update


def test_a_large_update_is_clipped_just_under_the_bound():
    update = np.random.default_rng(0).normal(size=1_422_250).astype(np.float32)
    clipped = clip_to_norm(update, 0.3)
    assert clipped.was_clipped
    assert 0.3 * (1 - 1e-6) < l2_norm(clipped.update) <= 0.3


@pytest.mark.parametrize(
    ("update", "expected", "was_clipped"),
    [
        ([0, 0], [0, 0], False),
        ([], [], False),
        ([0.6, 0.8 - 1e-7], [0.6, 0.8 - 1e-7], False),
        ([3, 4], [0.6, 0.8], True),
        ([3e38, 3e38], [0.70710678, 0.70710678], True),
    ],
    ids=["zero", "empty", "within", "beyond", "norm overflows float32"],
)
def test_edge_cases(update, expected, was_clipped):
    clipped = clip_to_norm(np.array(update, np.float32), 1.0)
    np.testing.assert_allclose(clipped.update, np.array(expected, np.float32), rtol=1e-6)
    assert clipped.was_clipped is was_clipped


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(value):
    with pytest.raises(NonFiniteUpdate):
        clip_to_norm(np.array([0, value], np.float32), 1.0)


@pytest.mark.parametrize("norm", [0.0, -1.0, np.nan, np.inf])
def test_absurd_norms_are_refused(norm):
    with pytest.raises(ValueError, match="l2_clip_norm must be"):
        clip_to_norm(np.zeros(2, np.float32), norm)
