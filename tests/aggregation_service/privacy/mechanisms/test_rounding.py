import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.memories import LARGEST, IntArray, Memory, empty_memory
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Toeplitz,
    Tree,
)
from aggregation_service.privacy.mechanisms.rounding import rounding_steps
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.toeplitz import coefficients

SIZE, ROUNDS = 6, 24
BUFFERED = BufferedToeplitz((0.99381, 0.88972, 0.47188), (0.1123, 0.1935, 0.1874))
TOEPLITZ = [Independent(), BandedToeplitz((1.0, 0.6, 0.3, 0.3)), BUFFERED]
seeds = st.integers(0, 2**32 - 1)


def fresh_noise_behind(mechanism: Toeplitz, noise: IntArray) -> IntArray:
    """The z that a stream must have drawn to have made `noise`: int64 [rounds, size]. It is a bijection."""
    memory = empty_memory(mechanism, SIZE)
    return np.array([_fresh(memory, step, row) for step, row in enumerate(noise)])


def _fresh(memory: Memory, step: int, noise: IntArray) -> IntArray:
    before = memory.vectors.copy()
    recalled = -memory.next_noise(step, lambda: np.zeros(SIZE, np.int64))
    memory.vectors = before
    assert (memory.next_noise(step, lambda: noise + recalled) == noise).all()
    return noise + recalled


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from(TOEPLITZ))
def test_neighbours_shift_what_was_drawn_by_the_matrix_and_the_stated_rounding(seed: int, mechanism: Toeplitz) -> None:
    generator = np.random.default_rng(seed)
    sums = generator.integers(-(2**20), 2**20, (ROUNDS, SIZE))
    change = np.zeros_like(sums)  # what one device contributed, at a clipping norm of 1,000 integers
    for step in range(generator.integers(7), ROUNDS, 7):
        direction = generator.normal(size=SIZE)
        change[step] = np.trunc(1000 * direction / np.linalg.norm(direction))
    released = sums + generator.integers(-(2**28), 2**28, sums.shape)

    shift = fresh_noise_behind(mechanism, released - sums) - fresh_noise_behind(mechanism, released - sums - change)
    linear = np.array([np.convolve(column, coefficients(mechanism, ROUNDS))[:ROUNDS] for column in change.T]).T
    steps = rounding_steps(mechanism, rounds=ROUNDS)
    assert np.abs(shift - linear).max() <= steps
    linear_bound = 1000 * sensitivity(mechanism, rounds=ROUNDS, min_separation=7, max_participations=4)
    assert np.linalg.norm(shift) <= linear_bound + steps * math.sqrt(SIZE * ROUNDS)


def test_rounding_does_shift_by_more_than_a_half() -> None:
    # So that the bound of 1 a coordinate is no idle one: 0.5 rounds to 0, and 1.5 to 2, for a linear shift of 0.5.
    mechanism = BandedToeplitz((1.0, 0.5, 0.5))
    noise = np.zeros((3, SIZE), np.int64)
    neighbour = noise.copy()
    noise[:2], neighbour[:2] = 1, [[1], [2]]
    shift = fresh_noise_behind(mechanism, neighbour) - fresh_noise_behind(mechanism, noise)
    assert shift[2].tolist() == [1] * SIZE  # where the matrix says 1/2


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(0, 4))
def test_what_a_tree_releases_is_a_function_of_its_noisy_nodes(seed: int, height: int) -> None:
    generator = np.random.default_rng(seed)
    restart_every = 1 << height
    sums = generator.integers(-(2**20), 2**20, (ROUNDS, SIZE))
    with_noise, with_nodes = (empty_memory(Tree(restart_every), SIZE) for _ in range(2))
    drawn = generator.integers(-(2**28), 2**28, (2 * ROUNDS, SIZE))
    noises, nodes = iter(drawn), iter(drawn)

    released, from_nodes = np.zeros(SIZE, np.int64), np.zeros(SIZE, np.int64)
    for step in range(ROUNDS):
        released += sums[step] + with_noise.next_noise(step, lambda: next(noises))
        spans = iter(1 << level for level in range(height + 1))

        def noisy_node(step: int = step, spans: object = spans) -> IntArray:
            span = next(spans)  # type: ignore[call-overload]
            return next(nodes) + sums[step + 1 - span : step + 1].sum(axis=0)

        from_nodes += with_nodes.next_noise(step, noisy_node)
        assert (released == from_nodes).all()


def test_a_full_size_stream_is_shifted_by_less_than_a_ten_thousandth_of_its_noise() -> None:
    bands = BandedToeplitz(tuple(np.cumprod([1.0, *(1 - 0.5 / np.arange(1, 342))]).tolist()))
    for mechanism in (BUFFERED, bands):
        assert 1 < rounding_steps(mechanism, rounds=2052) < 2
        assert rounding_steps(mechanism, rounds=2052) * math.sqrt(1_400_000 * 2052) < 1e-4 * 2**30


@pytest.mark.parametrize("mechanism", TOEPLITZ[1:], ids=str)
def test_float64_recalls_the_largest_noise_as_exactly_as_stated(mechanism: Toeplitz) -> None:
    generator = np.random.default_rng(7)
    stated = (rounding_steps(mechanism, rounds=ROUNDS) - 1) / 2
    drawn = generator.integers(-LARGEST // 4, LARGEST // 4, (ROUNDS, SIZE))
    memory = empty_memory(mechanism, SIZE)
    noise: list[list[Fraction]] = []
    for step in range(ROUNDS):
        made = memory.next_noise(step, lambda: drawn[step])  # noqa: B023
        noise.append([Fraction(int(value)) for value in made])
        exact = recall(mechanism, noise[:-1])
        recalled = [int(z) - n for z, n in zip(drawn[step], noise[-1], strict=True)]
        assert all(abs(r - e) <= Fraction(1, 2) + Fraction(stated) for r, e in zip(recalled, exact, strict=True))


def recall(mechanism: Toeplitz, noise: list[list[Fraction]]) -> list[Fraction]:
    """Σ_j c_j n_(t-j) in exact fractions."""
    total = [Fraction(0)] * SIZE
    for lag, row in enumerate(reversed(noise), start=1):
        total = [before + fraction(mechanism, lag) * value for before, value in zip(total, row, strict=True)]
    return total


def fraction(mechanism: Toeplitz, lag: int) -> Fraction:
    if isinstance(mechanism, BandedToeplitz):
        return Fraction(mechanism.coefficients[lag]) if lag < len(mechanism.coefficients) else Fraction(0)
    assert isinstance(mechanism, BufferedToeplitz)
    terms = zip(mechanism.decays, mechanism.scales, strict=True)
    return sum((Fraction(scale) * Fraction(decay) ** (lag - 1) for decay, scale in terms), Fraction(0))


@pytest.mark.parametrize("mechanism", [Independent(), Tree(8), BandedToeplitz((1.0,))], ids=str)
def test_what_recalls_nothing_or_exactly_adds_nothing(mechanism: Mechanism) -> None:
    assert rounding_steps(mechanism, rounds=10) == 0


@pytest.mark.parametrize("wrong", [0, -1, 65537])
def test_absurd_rounds_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"rounds must be between 1 and 65536, got {wrong}"):
        rounding_steps(BUFFERED, rounds=wrong)
