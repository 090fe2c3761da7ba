import numpy as np
import pytest

from aggregation_service.privacy.mechanisms.memories import LARGEST, IntArray, NoiseOutOfRange, empty_memory
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Independent, Tree

SIZE = 5


def draws(seed: int, largest: int = 1000) -> list[IntArray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(-largest, largest + 1, SIZE) for _ in range(200)]


def test_independent_noise_is_what_was_drawn() -> None:
    drawn = draws(0)
    memory = empty_memory(Independent(), SIZE)
    assert all((memory.next_noise(step, lambda: drawn[step]) == drawn[step]).all() for step in range(10))  # noqa: B023


def test_bands_take_back_the_rounded_recall_of_the_noise_before() -> None:
    drawn = draws(1)
    memory = empty_memory(BandedToeplitz((1.0, 0.5, 0.25, 0.1)), SIZE)
    noise: list[IntArray] = []
    for step in range(50):
        recalled = sum(c * noise[step - lag] for lag, c in ((1, 0.5), (2, 0.25), (3, 0.1)) if step >= lag)
        noise.append(memory.next_noise(step, lambda: drawn[step]))  # noqa: B023
        assert (noise[step] == drawn[step] - np.rint(recalled)).all()


def test_buffers_take_back_the_rounded_recall_of_all_noise_before() -> None:
    drawn = draws(2)
    memory = empty_memory(BufferedToeplitz((0.875, 0.25), (0.25, 0.5)), SIZE)
    noise: list[IntArray] = []
    for step in range(50):
        weights = [0.25 * 0.875 ** (lag - 1) + 0.5 * 0.25 ** (lag - 1) for lag in range(1, step + 1)]
        recalled = sum(c * n for c, n in zip(weights, reversed(noise), strict=True))
        noise.append(memory.next_noise(step, lambda: drawn[step]))  # noqa: B023
        assert np.abs(noise[step] - (drawn[step] - recalled)).max() <= 0.5 + 1e-6


def test_a_tree_of_four_rounds_by_hand() -> None:
    drawn = iter(np.array([[3], [30], [9], [300], [60], [30], [90], [1]]))
    memory = empty_memory(Tree(4), 1)
    noise = [int(memory.next_noise(step, lambda: next(drawn))[0]) for step in range(5)]
    # Estimates: 3; (2·9 + 33)/3 = 17; 300; of the two upper leaves (2·30 + 360)/3 = 140; of all four nodes of the root,
    # 4/7 of its own 90 and 3/7 of 17 + 140, which is 118.7.
    assert np.cumsum(noise).tolist() == [3, 17, 317, 119, 120]


@pytest.mark.parametrize(
    ("restart_every", "numbers"), [(1, [1] * 9), (4, [1, 2, 1, 3] * 2), (8, [1, 2, 1, 3, 1, 2, 1, 4])]
)
def test_a_tree_draws_once_for_every_node_that_a_step_completes(restart_every: int, numbers: list[int]) -> None:
    memory = empty_memory(Tree(restart_every), 1)
    counted: list[int] = []
    for step in range(len(numbers)):
        before = len(counted)
        memory.next_noise(step, lambda: counted.append(0) or np.zeros(1, np.int64))  # type: ignore[func-returns-value]
        assert len(counted) - before == numbers[step]


@pytest.mark.parametrize(
    "mechanism", [BandedToeplitz((1.0, 0.99, 0.99)), BufferedToeplitz((0.999, 0.9), (0.5, 0.49))], ids=str
)
def test_what_outgrows_the_range_is_refused_and_leaves_the_memory_as_it_was(
    mechanism: BandedToeplitz | BufferedToeplitz,
) -> None:
    memory = empty_memory(mechanism, 1)
    memory.next_noise(0, lambda: np.array([LARGEST]))
    before = memory.vectors.copy()
    with pytest.raises(NoiseOutOfRange, match=f"noise must be within ±{LARGEST}, got"):
        memory.next_noise(1, lambda: np.array([-LARGEST]))
    assert (memory.vectors == before).all()
