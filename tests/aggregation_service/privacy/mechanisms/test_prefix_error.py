import math

import numpy as np
import pytest
import scipy.linalg

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error, prefix_variances
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.streams import NoiseStream
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray

MECHANISMS = [
    Independent(),
    Tree(1),
    Tree(4),
    Tree(16),
    BandedToeplitz((1.0, 0.5, 0.375)),
    BufferedToeplitz((0.95, 0.3), (0.2, 0.3)),
]
UNIT = 1 << 34  # an impulse, so large that rounding to integers is lost in it


def noise_matrix(mechanism: Mechanism, rounds: int) -> FloatArray:
    """How much of each draw is in the noise of each round, as the stream itself does it: [rounds, draws]."""
    size = 2 * rounds  # at least as many coordinates as draws; draw i is an impulse in coordinate i
    impulses = iter(np.eye(size, dtype=np.int64) * UNIT)
    stream = NoiseStream(mechanism, size, context="impulses")
    return np.array([stream.next(lambda: next(impulses)) for _ in range(rounds)]) / UNIT


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("rounds", [1, 2, 7, 16, 41])
def test_the_stream_has_the_stated_error(mechanism: Mechanism, rounds: int) -> None:
    prefixes = np.cumsum(noise_matrix(mechanism, rounds), axis=0)
    variances = np.square(prefixes).sum(axis=1)
    assert prefix_variances(mechanism, rounds) == pytest.approx(variances, rel=1e-6)
    scale = sensitivity(mechanism, rounds=rounds, min_separation=5, max_participations=3)
    expected = scale * math.sqrt(variances.mean()), scale * math.sqrt(variances.max())
    found = prefix_error(mechanism, rounds=rounds, min_separation=5, max_participations=3)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_stream_undoes_the_matrix() -> None:
    mechanism = BandedToeplitz((1.0, 0.5, 0.375))
    matrix = np.tril(scipy.linalg.toeplitz([1, 0.5, 0.375, *[0] * 20]))
    drawn = noise_matrix(mechanism, 23)[:, :23]
    assert matrix @ drawn == pytest.approx(np.eye(23), abs=1e-8)


def test_independent_noise_has_the_published_error() -> None:
    rms, maximum = prefix_error(Independent(), rounds=2052, min_separation=342, max_participations=6)
    assert (rms, maximum) == pytest.approx((math.sqrt(6 * 2053 / 2), math.sqrt(6 * 2052)), rel=1e-9)
    assert (round(rms, 1), round(maximum, 1)) == (78.5, 111.0)  # arXiv 2408.08868


def test_trees_of_one_round_are_independent_noise() -> None:
    schedule = {"rounds": 100, "min_separation": 10, "max_participations": 7}
    assert prefix_error(Tree(1), **schedule) == pytest.approx(prefix_error(Independent(), **schedule))


def test_absurd_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be between 1 and 65536, got 0"):
        prefix_error(Independent(), rounds=0, min_separation=1, max_participations=1)
