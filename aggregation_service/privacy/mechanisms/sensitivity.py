"""How far one device can move what a mechanism adds its noise to, over all rounds: the sensitivity of C.

The participation pattern (2306.08153): one device takes part at most `max_participations` times, and any two of its
rounds are at least `min_separation` apart. In each it contributes a vector of norm at most 1, as it likes.
"""

import math
from fractions import Fraction

import numpy as np

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism, Toeplitz, Tree
from aggregation_service.privacy.mechanisms.toeplitz import coefficients, worst_contribution
from aggregation_service.privacy.mechanisms.trees import most_squares

MOST_ROUNDS = 1 << 16


def sensitivity(parameters: Mechanism, *, rounds: int, min_separation: int, max_participations: int) -> float:
    """Bounds the L2 norm of what one device adds to all that is noised, in units of one contribution's norm.

    The stream is then one Gaussian mechanism, of noise multiplier (noise's deviation / clipping norm) / sensitivity,
    also where contributions depend on what was released before (Denisov et al. 2022, arXiv 2202.08312).

    Args:
      parameters: the mechanism.
      rounds: n >= 1, steps of the stream.
      min_separation: b >= 1: two rounds of one device are t and t + b or later.
      max_participations: k >= 1.

    Returns:
      A finite number >= 1: sqrt(number of participations) for independent noise.

    Guarantees:
      Never below the true one, also after float64 rounding. Exact, but for that rounding, for Toeplitz mechanisms; an
      upper bound for trees, exact where `min_separation` is a power of two that divides `rounds`. Never falls with more
      rounds or participations, nor with less separation.

    Raises:
      ValueError: a parameter out of its bound.

    Source: Kalinin and Lampert 2024, arXiv 2405.13763, theorem 2: where coefficients never rise, the worst pattern is
    0, b, 2b, ...; for trees Kairouz et al. 2021, arXiv 2103.00039, appendix D, here for any separation.

    """
    participations = most_participations(
        rounds=rounds, min_separation=min_separation, max_participations=max_participations
    )
    match parameters:
        case Independent():
            return _root_rounded_up(participations)
        case Tree():
            return _root_rounded_up(_tree_squares(parameters, rounds, min_separation, participations))
        case _:
            return _toeplitz_norm(parameters, rounds, min_separation, participations)


def most_participations(*, rounds: int, min_separation: int, max_participations: int) -> int:
    """How often one device can take part: no more than is allowed, nor than the separation leaves room for.

    Raises:
      ValueError: a parameter out of its bound.

    """
    if not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds must be between 1 and {MOST_ROUNDS}, got {rounds}")
    if min_separation < 1:
        raise ValueError(f"min_separation must be >= 1, got {min_separation}")
    if max_participations < 1:
        raise ValueError(f"max_participations must be >= 1, got {max_participations}")
    return min(max_participations, -(-rounds // min_separation))


def _toeplitz_norm(parameters: Toeplitz, rounds: int, min_separation: int, participations: int) -> float:
    contribution = worst_contribution(coefficients(parameters, rounds), min_separation, participations)
    # Nothing in it is negative, so every operation's relative rounding error adds up, and no more: at most `rounds` for
    # the columns, as many for their squares, and a few for the coefficients themselves.
    return float(np.linalg.norm(contribution)) * (1 + (rounds + 32) * 2.0**-52)


def _tree_squares(tree: Tree, rounds: int, min_separation: int, participations: int) -> int:
    """Bounds the squared counts of participations, added up over all nodes that are complete: one by one level."""
    spans = (1 << height for height in range(tree.height + 1))
    return sum(most_squares(rounds // span, -(-span // min_separation), participations) for span in spans)


def _root_rounded_up(square: int) -> float:
    root = math.sqrt(square)
    return root if Fraction(root) ** 2 >= square else math.nextafter(root, math.inf)
