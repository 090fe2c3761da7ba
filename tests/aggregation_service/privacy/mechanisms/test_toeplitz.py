import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Independent
from aggregation_service.privacy.mechanisms.toeplitz import (
    FloatArray,
    coefficients,
    inverse,
    prefix_sums,
    product,
    worst_contribution,
)

fractions = st.floats(0, 0.999)


@st.composite
def falling(draw: st.DrawFn) -> FloatArray:
    """Coefficients that never rise, 1 first."""
    return np.cumprod([1.0, *draw(st.lists(fractions, max_size=40))])


def dense(column: FloatArray) -> FloatArray:
    return np.tril(scipy.linalg.toeplitz(column))


def test_the_coefficients_of_each_kind() -> None:
    assert coefficients(Independent(), 3).tolist() == [1, 0, 0]
    assert coefficients(BandedToeplitz((1.0, 0.5)), 4).tolist() == [1, 0.5, 0, 0]
    assert coefficients(BandedToeplitz((1.0, 0.5, 0.25)), 2).tolist() == [1, 0.5]
    assert coefficients(BufferedToeplitz((0.5, 0.0), (0.25, 0.5)), 4).tolist() == [1, 0.75, 0.125, 0.0625]
    assert coefficients(BufferedToeplitz((0.5,), (0.25,)), 1).tolist() == [1]


@given(falling(), st.randoms(use_true_random=False))
def test_products_are_those_of_matrices(column: FloatArray, random: object) -> None:
    other = np.array([random.uniform(-1, 1) for _ in column])  # type: ignore[attr-defined]
    assert product(column, other) == pytest.approx((dense(column) @ dense(other))[:, 0], abs=1e-12)


@given(falling())
def test_inverses_are_those_of_matrices(column: FloatArray) -> None:
    assert dense(column) @ inverse(column) == pytest.approx(np.eye(column.size)[0], abs=1e-11)
    assert prefix_sums(column) == pytest.approx(scipy.linalg.solve(dense(column), np.ones(column.size)), abs=1e-11)


def test_the_square_root_of_the_prefix_sums_is_known() -> None:
    size = 5000
    ratios = 1 - 0.5 / np.arange(1, size)  # binom(2j, j) / 4^j
    root = np.cumprod(np.concatenate([[1.0], ratios]))
    assert product(root, root) == pytest.approx(np.ones(size), abs=1e-11)
    assert prefix_sums(root) == pytest.approx(root, abs=1e-11)


@given(falling(), st.integers(1, 12), st.integers(1, 50))
def test_the_worst_contribution_is_a_sum_of_columns(column: FloatArray, separation: int, participations: int) -> None:
    participations = min(participations, -(-column.size // separation))
    columns = dense(column)[:, ::separation][:, :participations]
    assert worst_contribution(column, separation, participations) == pytest.approx(columns.sum(axis=1))
