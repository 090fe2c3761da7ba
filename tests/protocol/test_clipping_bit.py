"""Update and bit together cost what was asked for, and no device's report is longer than accounting takes it to be."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.clipping import clip_to_norm, l2_norm
from protocol.clipping_bit import (
    coordinate_per_device,
    joint_norm,
    update_noise_multiplier,
    with_bit,
)

POSITIVE = st.floats(1e-3, 1e3)


@given(POSITIVE, st.floats(1, 1e3, exclude_min=True))
def test_update_and_bit_together_cost_what_was_asked_for(noise_multiplier: float, factor: float) -> None:
    count_noise = noise_multiplier / 2 * factor
    assume(2 * count_noise > noise_multiplier)
    raised = update_noise_multiplier(noise_multiplier, count_noise)
    assert raised > noise_multiplier
    exact = [Fraction(value) ** -2 for value in (raised, 2 * count_noise, noise_multiplier)]
    assert exact[0] + exact[1] <= exact[2] < (exact[0] + exact[1]) * (1 + Fraction(1, 10**9))


def test_the_paper_s_example() -> None:
    """Section 3: with σ_b = m / 20 and m = 100, z = 1 grows by half a percent."""
    assert update_noise_multiplier(1.0, 5.0) == pytest.approx(1 / math.sqrt(0.99), rel=1e-12)


@given(POSITIVE, st.floats(1.001, 100), POSITIVE, st.floats(0, 5), st.integers(0, 40))
def test_the_bit_as_a_coordinate_has_the_joint_sensitivity(
    noise_multiplier: float, factor: float, l2_clip_norm: float, length: float, size: int
) -> None:
    """The mechanism adds noise of one deviation to all coordinates: it over their joint norm is z."""
    count_noise = noise_multiplier / 2 * factor
    arguments = (l2_clip_norm, noise_multiplier, count_noise)
    update = np.full(size, length * l2_clip_norm / math.sqrt(max(size, 1)), np.float32)
    clipped = clip_to_norm(update, l2_clip_norm)
    report = with_bit(clipped, *arguments)
    assert (report.dtype, report.size) == (np.float32, size + 1)
    np.testing.assert_array_equal(report[:-1], clipped.update)
    assert (report[-1] < 0) == clipped.was_clipped
    assert l2_norm(report) < joint_norm(*arguments)
    raised = update_noise_multiplier(noise_multiplier, count_noise)
    assert raised * l2_clip_norm / joint_norm(*arguments) == pytest.approx(noise_multiplier, rel=1e-9)
    unit = coordinate_per_device(*arguments)
    assert abs(report[-1] / unit) == pytest.approx(0.5, rel=1e-6)
    assert raised * l2_clip_norm / unit == pytest.approx(count_noise, rel=1e-12)  # of the count, in devices


@given(POSITIVE, st.floats(1.001, 100), POSITIVE)
def test_the_joint_norm_is_rounded_up(noise_multiplier: float, factor: float, l2_clip_norm: float) -> None:
    count_noise = noise_multiplier / 2 * factor
    arguments = (l2_clip_norm, noise_multiplier, count_noise)
    squares = Fraction(l2_clip_norm) ** 2 + Fraction(coordinate_per_device(*arguments) / 2) ** 2
    assert squares <= Fraction(joint_norm(*arguments)) ** 2


@pytest.mark.parametrize(("noise_multiplier", "count_noise"), [(1.0, 0.5), (1.0, 0.4), (10.0, 5.0)])
def test_a_count_that_alone_costs_more_is_refused(noise_multiplier: float, count_noise: float) -> None:
    with pytest.raises(ValueError, match="count_noise must be > half the noise_multiplier"):
        update_noise_multiplier(noise_multiplier, count_noise)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_absurd_noise_is_refused(wrong: float) -> None:
    for refused in (
        lambda: update_noise_multiplier(wrong, 1.0),
        lambda: update_noise_multiplier(1.0, wrong),
        lambda: coordinate_per_device(wrong, 1.0, 1.0),
        lambda: joint_norm(1.0, wrong, 1.0),
        lambda: with_bit(clip_to_norm(np.zeros(2, np.float32), 1.0), 1.0, 1.0, wrong),
    ):
        with pytest.raises(ValueError, match="must be a finite number > 0, got"):
            refused()
