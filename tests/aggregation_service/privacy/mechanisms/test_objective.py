import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.objective import ErrorKind, log_error, make_schedule
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error

kinds = st.sampled_from(["rms", "maximum"])


@given(st.lists(st.floats(0, 0.99), max_size=20), st.integers(1, 9), st.integers(1, 30))
def test_it_is_the_logarithm_of_the_error(ratios: list[float], separation: int, participations: int) -> None:
    column = np.cumprod([1.0, *ratios])
    pattern = {"rounds": column.size, "min_separation": separation, "max_participations": participations}
    errors = prefix_error(BandedToeplitz(tuple(column.tolist())), **pattern)
    for kind, error in zip(("rms", "maximum"), errors, strict=True):
        schedule = make_schedule(column.size, separation, participations, kind)
        assert log_error(column, schedule).value == pytest.approx(math.log(error), abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.01, 0.99), max_size=20), st.integers(1, 9), st.integers(1, 30), kinds)
def test_its_gradient_is_that_of_small_steps(
    ratios: list[float], separation: int, participations: int, kind: ErrorKind
) -> None:
    column = np.cumprod([1.0, *ratios])
    schedule = make_schedule(column.size, separation, participations, kind)
    steps = 1e-6 * np.eye(column.size)
    slopes = [(log_error(column + s, schedule).value - log_error(column - s, schedule).value) / 2e-6 for s in steps]
    assert log_error(column, schedule).gradient == pytest.approx(np.array(slopes), rel=1e-4, abs=1e-7)


def test_an_unknown_kind_of_error_is_refused() -> None:
    with pytest.raises(ValueError, match='kind must be "rms" or "maximum", got \'mean\''):
        make_schedule(10, 1, 1, "mean")  # type: ignore[arg-type]
