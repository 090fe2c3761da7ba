"""What a mechanism's noise does to the model: the error of the sums of all rounds so far, which is what a model is."""

import math

import numpy as np

from aggregation_service.privacy.mechanisms.parameters import Mechanism, Tree
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray, coefficients, prefix_sums
from aggregation_service.privacy.mechanisms.trees import estimate_variance


def prefix_error(
    parameters: Mechanism, *, rounds: int, min_separation: int, max_participations: int
) -> tuple[float, float]:
    """The deviation of a coordinate of the prefix sums, per unit of noise at sensitivity 1.

    Mechanisms of equal privacy are compared by it: whatever noise multiplier the privacy asks for, relative to the
    stream's sensitivity, times the clipping norm, times this, is the deviation of the sum of all updates so far.

    Args:
      parameters: the mechanism.
      rounds: n >= 1.
      min_separation: b >= 1.
      max_participations: k >= 1.

    Returns:
      The root mean square over the n prefix sums, and the largest of them.

    Guarantees:
      sens(C) · ||A·C⁻¹||_F / sqrt(n) and sens(C) · max_t ||(A·C⁻¹)_t||_2, where A adds up; for independent noise
      sqrt(k · (n + 1) / 2) and sqrt(k · n). What rounding to the integer grid adds is left out.

    Raises:
      ValueError: a parameter out of its bound.

    Source: McMahan, Xu, Zhang 2024, arXiv 2408.08868, section 2.

    """
    scale = sensitivity(parameters, rounds=rounds, min_separation=min_separation, max_participations=max_participations)
    variances = prefix_variances(parameters, rounds)
    return scale * math.sqrt(variances.mean()), scale * math.sqrt(variances.max())


def prefix_variances(parameters: Mechanism, rounds: int) -> FloatArray:
    """The variance of each prefix sum's noise, in units of that of z: float64 [rounds]."""
    if isinstance(parameters, Tree):
        return np.array([_tree_variance(parameters, step) for step in range(1, rounds + 1)])
    return np.cumsum(np.square(prefix_sums(coefficients(parameters, rounds))))


def _tree_variance(tree: Tree, steps: int) -> float:
    """Whole trees, and in the one that grows a node for every bit of the number of steps in it."""
    whole, begun = divmod(steps, tree.restart_every)
    nodes = sum(estimate_variance(height) for height in range(tree.height) if begun >> height & 1)
    return whole * estimate_variance(tree.height) + nodes
