from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.memories import LARGEST
from aggregation_service.privacy.mechanisms.trees import WEIGHT_BITS, estimate_variance, mix, most_squares, own_weight

integers = st.integers(-LARGEST, LARGEST)


@pytest.mark.parametrize("height", range(6))
def test_no_unbiased_estimate_of_a_whole_tree_has_less_variance(height: int) -> None:
    # Least squares over all nodes' noisy sums: the leaves are the unknowns.
    leaves = 1 << height
    nodes = [
        [start <= leaf < start + span for leaf in range(leaves)]
        for span in (1 << level for level in range(height + 1))
        for start in range(0, leaves, span)
    ]
    design = np.array(nodes, float)
    covariance = np.linalg.inv(design.T @ design)
    least = covariance.sum()
    assert least * (1 - 1e-12) <= estimate_variance(height) <= least * (1 + 1e-8)


def test_weights_are_dyadic_and_fall_to_a_half() -> None:
    assert own_weight(1) == round(2**16 * 2 / 3)
    weights = [own_weight(height) for height in range(1, 17)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == 1 << (WEIGHT_BITS - 1)


@given(st.integers(1, 16), integers, integers, integers)
def test_data_goes_through_a_mix_unchanged(height: int, own: int, children: int, data: int) -> None:
    noise = mix(height, np.array([own]), np.array([children]))
    both = mix(height, np.array([own + data]), np.array([children + data]))
    assert both.tolist() == (noise + data).tolist()


@given(st.integers(1, 16), integers, st.integers(-18 * LARGEST, 18 * LARGEST))
def test_a_mix_is_the_weighted_mean_rounded(height: int, own: int, children: int) -> None:
    weight = Fraction(own_weight(height), 1 << WEIGHT_BITS)
    exact = weight * own + (1 - weight) * children
    (mixed,) = mix(height, np.array([own]), np.array([children])).tolist()
    assert Fraction(-1, 2) < mixed - exact <= Fraction(1, 2)


@pytest.mark.parametrize("nodes", range(4))
@pytest.mark.parametrize("capacity", [1, 2, 3])
@pytest.mark.parametrize("participations", range(1, 8))
def test_filling_up_has_the_most_squares(nodes: int, capacity: int, participations: int) -> None:
    counts = combinations_with_replacement(range(capacity + 1), nodes)
    brute = max(sum(c * c for c in count) for count in counts if sum(count) <= participations)
    assert most_squares(nodes, capacity, participations) == brute
