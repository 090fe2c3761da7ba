import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.averaging import tail_average

numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


def checkpoints(values):
    return [{"bias": np.full(3, value, np.float32)} for value in values]


@given(numbers, st.integers(1, 15))
def test_the_newest_are_averaged(values, newest):
    expected = sum(values[-newest:]) / len(values[-newest:])
    (averaged,) = tail_average(checkpoints(values), newest).values()
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged, expected, rtol=1e-5, atol=1e-4)


def test_noise_of_many_checkpoints_averages_out():
    generator = np.random.default_rng(1)
    noisy = [{"kernel": generator.normal(size=1000).astype(np.float32)} for _ in range(16)]
    assert tail_average(noisy, 16)["kernel"].std() < 0.3 * noisy[-1]["kernel"].std()


@pytest.mark.parametrize(("count", "newest"), [(0, 1), (3, 0)])
def test_nothing_cannot_be_averaged(count, newest):
    with pytest.raises(ValueError, match="must"):
        tail_average(checkpoints(range(count)), newest)
