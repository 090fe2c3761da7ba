"""Honaker's estimate of a sum from noisy nodes of a binary tree, with weights that integers carry exactly.

A node of height l covers 2^l rounds. Its estimate mixes its own noisy sum with those of its two children:

    estimate = w_l · own + (1 - w_l) · (left + right)

where w_l, rounded to a multiple of 2^-16, minimises the variance v_l. As the two weights add up to 1, the estimate of
data and noise together is the data plus the estimate of the noise alone: so the noise may be made without the data.

Source: Honaker 2015, "Efficient use of differentially private binary trees", estimation from below; Kairouz et al.
2021, arXiv 2103.00039, appendix B.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

WEIGHT_BITS = 16

IntArray = npt.NDArray[np.int64]


@cache
def own_weight(height: int) -> int:
    """2^16·w_l, what a node's own noise weighs in its estimate, >= 1: v' / (1 + v') with v' the children's variance."""
    children = 2 * estimate_variance(height - 1)
    return round((1 << WEIGHT_BITS) * children / (1 + children))


@cache
def estimate_variance(height: int) -> float:
    """v_l in units of one node's noise variance: 1 for a leaf, 2/3 one above, ... 1/2 far up."""
    if height == 0:
        return 1.0
    weight = own_weight(height) / (1 << WEIGHT_BITS)
    return weight**2 + (1 - weight) ** 2 * 2 * estimate_variance(height - 1)


def mix(height: int, own: IntArray, children: IntArray) -> IntArray:
    """A node's estimate, rounded to the nearest integer, half up: int64 [size], as `own` and `children`.

    Guarantees:
      mix(l, own + x, children + x) = mix(l, own, children) + x exactly, for every integer x. Nothing overflows for
      noise up to `memories.LARGEST` and heights up to 16.

    """
    weight = own_weight(height)
    weighted = weight * own + ((1 << WEIGHT_BITS) - weight) * children
    return (weighted + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS


def most_squares(nodes: int, capacity: int, participations: int) -> int:
    """The largest sum of squared counts of `participations` in `nodes`, with at most `capacity` in one: fill up."""
    full = min(nodes, participations // capacity)
    rest = participations - full * capacity if full < nodes else 0
    return full * capacity**2 + rest**2
