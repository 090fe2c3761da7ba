import math
from collections.abc import Iterator
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray

BANDED = BandedToeplitz((1.0, 0.5, 0.375, 0.3125))
BUFFERED = BufferedToeplitz((0.95, 0.3), (0.2, 0.3))
SLOW = BufferedToeplitz((0.9999,), (0.99,))
TOEPLITZ = [Independent(), BANDED, BUFFERED, SLOW, BandedToeplitz((1.0, 0.99, 0.99, 0.99, 0.99))]
TREES = [Tree(1), Tree(2), Tree(4), Tree(8)]
CASES = [(rounds, b, k) for rounds in (1, 2, 5, 8) for b in (1, 2, 3, 4, 9) for k in (1, 2, 3, 8)]


def c(mechanism: Mechanism, lag: int) -> float:
    """A coefficient as the papers define it."""
    match mechanism:
        case BandedToeplitz(coefficients=values):
            return values[lag] if lag < len(values) else 0.0
        case BufferedToeplitz(decays=decays, scales=scales) if lag:
            return sum(scale * decay ** (lag - 1) for decay, scale in zip(decays, scales, strict=True))
    return float(lag == 0)


def noised(mechanism: Mechanism, rounds: int) -> FloatArray:
    """What noise is added to, as a matrix: the rows of C, or the complete nodes of all trees."""
    if not isinstance(mechanism, Tree):
        return np.array([[c(mechanism, t - s) if t >= s else 0.0 for s in range(rounds)] for t in range(rounds)])
    nodes = [
        [start <= t < start + span for t in range(rounds)]
        for span in (1, 2, 4, 8)
        if span <= mechanism.restart_every
        for start in range(0, rounds - span + 1, span)
    ]
    return np.array(nodes, float)


def patterns(rounds: int, min_separation: int, max_participations: int) -> Iterator[list[int]]:
    """Every set of rounds that one device may take part in."""
    for count in range(1, min(rounds, max_participations) + 1):
        for chosen in combinations(range(rounds), count):
            if all(later - earlier >= min_separation for earlier, later in pairwise(chosen)):
                yield list(chosen)


def brute_force(matrix: FloatArray, b: int, k: int) -> float:
    """The most that contributions of norm 1, of either sign, move it, over every pattern."""
    worst = 0.0
    for pattern in patterns(matrix.shape[1], b, k):
        signs = np.array(list(product([1.0], *[[1.0, -1.0]] * (len(pattern) - 1))))  # the first is free
        worst = max(worst, np.linalg.norm(matrix[:, pattern] @ signs.T, axis=0).max())
    return worst


@pytest.mark.parametrize("mechanism", TOEPLITZ, ids=str)
def test_toeplitz_is_the_worst_of_all_patterns(mechanism: Mechanism) -> None:
    for rounds, b, k in CASES:
        brute = brute_force(noised(mechanism, rounds), b, k)
        bound = sensitivity(mechanism, rounds=rounds, min_separation=b, max_participations=k)
        assert bound == pytest.approx(brute, rel=1e-12)


@pytest.mark.parametrize("mechanism", TREES, ids=str)
def test_no_pattern_is_worse_than_a_tree_says(mechanism: Mechanism) -> None:
    for rounds, b, k in CASES:
        brute = brute_force(noised(mechanism, rounds), b, k)
        bound = sensitivity(mechanism, rounds=rounds, min_separation=b, max_participations=k)
        assert brute <= bound * (1 + 1e-12)
        if b in {1, 2, 4} and rounds % b == 0:
            assert bound == pytest.approx(brute, rel=1e-12)
        assert bound <= 1.3 * brute


@pytest.mark.parametrize("mechanism", [*TOEPLITZ, *TREES], ids=str)
def test_vectors_move_no_more_than_numbers(mechanism: Mechanism) -> None:
    generator = np.random.default_rng(6)
    matrix = noised(mechanism, 8)
    bound = sensitivity(mechanism, rounds=8, min_separation=2, max_participations=3)
    for pattern in patterns(8, 2, 3):
        vectors = generator.normal(size=(len(pattern), 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        assert np.linalg.norm(matrix[:, pattern] @ vectors) <= bound


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 0.999), max_size=6), st.integers(1, 8), st.integers(1, 9), st.integers(1, 8))
def test_any_falling_band_is_the_worst_of_all_patterns(ratios: list[float], rounds: int, b: int, k: int) -> None:
    mechanism = BandedToeplitz(tuple(np.cumprod([1.0, *ratios]).tolist()))
    brute = brute_force(noised(mechanism, rounds), b, k)
    assert sensitivity(mechanism, rounds=rounds, min_separation=b, max_participations=k) == pytest.approx(brute)


@pytest.mark.parametrize("mechanism", [*TOEPLITZ, *TREES, Tree(64)], ids=str)
def test_more_rounds_or_participations_or_less_separation_never_cost_less(mechanism: Mechanism) -> None:
    def cost(rounds: int, b: int, k: int) -> float:
        return sensitivity(mechanism, rounds=rounds, min_separation=b, max_participations=k)

    for rounds, b, k in product(range(1, 70, 6), (1, 2, 3, 5, 16, 40), (1, 2, 5, 70)):
        here = cost(rounds, b, k)
        assert cost(rounds + 1, b, k) >= here
        assert cost(rounds, b + 1, k) <= here
        assert cost(rounds, b, k + 1) >= here


def test_known_values() -> None:
    def cost(mechanism: Mechanism) -> float:
        return sensitivity(mechanism, rounds=2052, min_separation=342, max_participations=6)

    assert cost(Independent()) >= math.sqrt(6)
    assert cost(Independent()) == pytest.approx(math.sqrt(6), rel=1e-15)
    assert cost(BANDED) == pytest.approx(math.sqrt(6 * (1 + 0.25 + 0.375**2 + 0.3125**2)), rel=1e-9)
    assert cost(Tree(256)) == pytest.approx(math.sqrt(6 * 9), rel=1e-15)  # once in each tree, on each of nine levels


@pytest.mark.parametrize("participations", [1, 2, 3, 5, 6, 7, 1000, 4, 9])
def test_a_root_is_never_rounded_down(participations: int) -> None:
    bound = sensitivity(Independent(), rounds=1000, min_separation=1, max_participations=participations)
    assert int(bound * 2**60) ** 2 >= participations << 120  # in whole numbers, for float64 would round the square
    assert bound <= math.sqrt(participations) * (1 + 2**-52)


def test_thousands_of_rounds_are_quick_and_finite() -> None:
    for mechanism in (BANDED, SLOW, Tree(1 << 16)):
        bound = sensitivity(mechanism, rounds=1 << 16, min_separation=100, max_participations=655)
        assert math.sqrt(655) <= bound < math.inf


@pytest.mark.parametrize("mechanism", [Independent(), Tree(4), BANDED, BUFFERED], ids=str)
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rounds": 0}, "rounds must be between 1 and 65536, got 0"),
        ({"rounds": -5}, "rounds must be between 1 and 65536, got -5"),
        ({"rounds": 65537}, "rounds must be between 1 and 65536, got 65537"),
        ({"min_separation": 0}, "min_separation must be >= 1, got 0"),
        ({"max_participations": 0}, "max_participations must be >= 1, got 0"),
        ({"max_participations": -1}, "max_participations must be >= 1, got -1"),
    ],
)
def test_absurd_schedules_are_refused(mechanism: Mechanism, wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sensitivity(mechanism, **{"rounds": 10, "min_separation": 2, "max_participations": 3} | wrong)
