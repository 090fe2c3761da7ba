import math
import os

import numpy as np
import pytest
import scipy.stats

from aggregation_service.privacy.gaussian import noised_sum, standard_normal

# A failure by chance has a probability below 1e-6 a test: thresholds are set for that, not for 5 %.
RARE = 1e-6


def test_is_standard_normal() -> None:
    samples = standard_normal(400_000)
    assert abs(samples.mean()) < 5 / math.sqrt(samples.size)
    assert abs(samples.var() - 1) < 5 * math.sqrt(2 / samples.size)
    assert scipy.stats.kstest(samples, "norm").pvalue > RARE


def test_samples_are_independent_of_their_neighbours_and_of_their_pair() -> None:
    samples = standard_normal(400_000)
    for lag in (1, 2, 65_536):
        products = samples[:-lag] * samples[lag:]
        assert abs(products.mean()) < 5 / math.sqrt(products.size)
        squares = (samples[:-lag] ** 2 - 1) * (samples[lag:] ** 2 - 1)
        assert abs(squares.mean()) < 6 * 2 / math.sqrt(squares.size)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 131_072, 131_073, 300_001])
def test_every_size_is_filled(size: int) -> None:
    samples = standard_normal(size)
    assert samples.shape == (size,)
    assert np.unique(samples).size == size


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_the_extreme_bits_are_finite(byte: bytes) -> None:
    samples = standard_normal(10, lambda count: byte * count)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= math.sqrt(2 * 53 * math.log(2))


def test_asks_the_operating_system_for_16_bytes_a_pair_and_never_again_for_the_same() -> None:
    asked: list[int] = []

    def counted(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    standard_normal(300_000, counted)
    assert sum(asked) == 150_000 * 16
    assert max(asked) <= 1 << 20


def test_the_noise_has_the_stated_deviation() -> None:
    total = np.full(200_000, 3.0)
    noise = noised_sum(total, noise_multiplier=2.5, l2_clip_norm=0.4) - 3.0
    assert abs(noise.std() - 1.0) < 5 / math.sqrt(2 * noise.size)
    assert scipy.stats.kstest(noise, "norm").pvalue > RARE
    assert (total == 3.0).all()


def test_no_noise_is_the_sum_itself() -> None:
    total = np.arange(5.0)
    assert noised_sum(total, noise_multiplier=0, l2_clip_norm=1).tolist() == total.tolist()


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_absurd_noise_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"noise_multiplier must be a finite number >= 0, got"):
        noised_sum(np.zeros(1), noise_multiplier=wrong, l2_clip_norm=1)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_absurd_clipping_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"l2_clip_norm must be a finite number > 0, got"):
        noised_sum(np.zeros(1), noise_multiplier=1, l2_clip_norm=wrong)
