import itertools

import numpy as np
import pytest

from aggregation_service.privacy.mechanisms.objective import ErrorKind
from aggregation_service.privacy.mechanisms.optimise import optimised_banded, optimised_buffered, optimised_tree
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Mechanism, Tree
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error

PUBLISHED = {"rounds": 2052, "min_separation": 342, "max_participations": 6}
SMALL = {"rounds": 60, "min_separation": 12, "max_participations": 4}
KINDS: list[ErrorKind] = ["rms", "maximum"]


def error(mechanism: Mechanism, schedule: dict[str, int], kind: ErrorKind) -> float:
    return prefix_error(mechanism, **schedule)[KINDS.index(kind)]


@pytest.mark.parametrize(
    ("buffers", "kind", "figure"), [(2, "rms", 9.18), (2, "maximum", 10.81), (3, "rms", 9.17), (3, "maximum", 10.75)]
)
def test_buffers_reach_the_published_error(buffers: int, kind: ErrorKind, figure: float) -> None:
    # arXiv 2408.08868 has 9.18 and 10.75.
    mechanism = optimised_buffered(buffers, **PUBLISHED, kind=kind)
    assert error(mechanism, PUBLISHED, kind) == pytest.approx(figure, rel=0.005)


@pytest.mark.parametrize(("kind", "figure"), [("rms", 8.80), ("maximum", 10.40)])
def test_bands_up_to_the_separation_are_better_than_where_the_search_began(kind: ErrorKind, figure: float) -> None:
    root = BandedToeplitz(tuple(np.cumprod([1.0, *(1 - 0.5 / np.arange(1, 342))]).tolist()))
    banded = error(optimised_banded(342, **PUBLISHED, kind=kind), PUBLISHED, kind)
    assert banded == pytest.approx(figure, rel=0.005)
    assert 0.9 * error(root, PUBLISHED, kind) < banded < error(root, PUBLISHED, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_two_bands_are_the_best_of_a_fine_grid(kind: ErrorKind) -> None:
    schedule = {"rounds": 5, "min_separation": 2, "max_participations": 2}
    grid = [error(BandedToeplitz((1.0, value)), schedule, kind) for value in np.linspace(0, 0.999, 300)]
    assert error(optimised_banded(2, **schedule, kind=kind), schedule, kind) == pytest.approx(min(grid), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_buffer_is_the_best_of_a_fine_grid(kind: ErrorKind) -> None:
    schedule = {"rounds": 5, "min_separation": 2, "max_participations": 2}
    values = np.linspace(0.02, 0.98, 25)
    grid = [error(BufferedToeplitz((decay,), (scale,)), schedule, kind) for decay in values for scale in values]
    found = error(optimised_buffered(1, **schedule, kind=kind), schedule, kind)
    assert 0.99 * min(grid) < found <= min(grid)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_near_is_better(kind: ErrorKind) -> None:
    generator = np.random.default_rng(8)
    found = optimised_buffered(2, **SMALL, kind=kind)
    least = error(found, SMALL, kind)
    for _ in range(40):
        decays = 1 - (1 - np.array(found.decays)) * generator.uniform(0.97, 1.03, 2)
        scales = np.array(found.scales) * generator.uniform(0.97, 1.03, 2)
        near = BufferedToeplitz(tuple(np.clip(decays, 0, 0.999999).tolist()), tuple(scales.tolist()))
        assert error(near, SMALL, kind) >= least * (1 - 1e-6)


def test_more_bands_or_buffers_are_never_worse() -> None:
    bands = [error(optimised_banded(count, **SMALL), SMALL, "rms") for count in (1, 2, 4, 12, 24)]
    buffers = [error(optimised_buffered(count, **SMALL), SMALL, "rms") for count in (1, 2, 3, 5)]
    for errors in (bands, buffers):
        assert all(later <= before * 1.0001 for before, later in itertools.pairwise(errors))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_is_the_best_of_all_restarts(kind: ErrorKind) -> None:
    found = optimised_tree(**SMALL, kind=kind)
    assert error(found, SMALL, kind) == min(error(Tree(1 << height), SMALL, kind) for height in range(8))


@pytest.mark.parametrize(("kind", "figure"), [("rms", 14.98), ("maximum", 21.18)])
def test_the_tree_for_the_published_schedule(kind: ErrorKind, figure: float) -> None:
    found = optimised_tree(**PUBLISHED, kind=kind)
    assert found == Tree(restart_every=256)
    assert round(error(found, PUBLISHED, kind), 2) == figure


@pytest.mark.parametrize(("rounds", "separation", "participations"), [(1, 1, 1), (2, 1, 2), (3, 1, 1), (30, 1, 30)])
def test_extreme_schedules_have_a_valid_mechanism(rounds: int, separation: int, participations: int) -> None:
    schedule = {"rounds": rounds, "min_separation": separation, "max_participations": participations}
    independent = error(Tree(1), schedule, "rms")
    for mechanism in (
        optimised_banded(min(3, rounds), **schedule),
        optimised_buffered(3, **schedule),
        optimised_tree(**schedule),
    ):
        assert error(mechanism, schedule, "rms") <= independent * 1.001


@pytest.mark.parametrize("wrong", [0, -1, 61])
def test_bands_are_as_many_as_rounds_at_most(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"bands must be between 1 and 60, got {wrong}"):
        optimised_banded(wrong, **SMALL)


@pytest.mark.parametrize("wrong", [0, -1, 17])
def test_buffers_are_few(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"buffers must be between 1 and 16, got {wrong}"):
        optimised_buffered(wrong, **SMALL)


def test_absurd_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="min_separation must be >= 1, got 0"):
        optimised_tree(rounds=10, min_separation=0, max_participations=1)
