"""Accounting of distributed noise by itself: what sums of shares cost, whatever the width of a share.

Ledgers are accounted in `charges`, where shares are wide enough for a Gaussian mechanism to take their place
(`SumOfShares.gaussian_multiplier`). This bound needs no such width, and is the second opinion on that one.
"""

import math

from aggregation_service.privacy.accounting import PrivacySpent, privacy_spent
from aggregation_service.privacy.grid_noise import SMOOTHING, SMOOTHING_DIVERGENCE
from aggregation_service.privacy.shares import SumOfShares, sum_of

__all__ = ["SumOfShares", "spent_on_sums", "sum_of"]

_ORDERS = (*(1 + x / 20 for x in range(1, 200)), *range(11, 64), *(2.0**power for power in range(6, 21)))
_UP = 1 + 2.0**-40  # the rounding of square roots and products


def spent_on_sums(released: SumOfShares, participations: int, delta: float) -> PrivacySpent:
    """What `participations` such sums cost the device that is in all of them.

    Args:
      released: each of the sums, or the one of them with the least noise.
      participations: >= 0.
      delta: in (0, 1).

    Returns:
      Of two bounds on epsilon the smaller: by Rényi divergences, which add up; and that of the Gaussian mechanism to
      which the sum is as close as `_as_gaussian` says. From sigma = 3 on it is the latter. rho by theorem 1.

    | participations | epsilon, rho |
    |----------------|--------------|
    | 0              | 0            |

    Raises:
      ValueError: an argument out of its bound.

    Source: Canonne, Kamath, Steinke 2020, arXiv 2004.00010, proposition 12, from divergences to epsilon.

    """
    if participations < 0:
        raise ValueError(f"participations must be >= 0, got {participations}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    if participations == 0:
        return PrivacySpent(0.0, delta, 0.0)
    epsilon = min(_by_divergences(released, participations, delta), _as_gaussian(released, participations, delta))
    return PrivacySpent(epsilon, delta, participations * released.rho)


def _by_divergences(released: SumOfShares, participations: int, delta: float) -> float:
    from dp_accounting import rdp  # not earlier: see `accounting`

    divergences = [participations * released.renyi(order) for order in _ORDERS]
    epsilon, _ = rdp.compute_epsilon(_ORDERS, divergences, delta)
    return float(epsilon)


def _as_gaussian(released: SumOfShares, participations: int, delta: float) -> float:
    """Epsilon of the Gaussian mechanism of variance n σ² - 9, and what the sum may differ from it.

    In every coordinate the logarithm of a chance of the sum differs by τ / 2 at most from that of a discrete Gaussian
    of variance n σ², and the latter's by `SMOOTHING_DIVERGENCE` from a post-processed Gaussian's (see `grid_noise`).
    Chances that differ by a factor of exp(t) turn (ε, δ) into (ε + 2 t, exp(t) δ).
    """
    variance = released.num_shares * released.sigma**2 - SMOOTHING**2
    coordinates = participations * released.vector_length
    apart = coordinates * (released.divergence / 2 + SMOOTHING_DIVERGENCE) * _UP
    if variance <= 0 or apart > 1:
        return math.inf
    noise_multiplier = math.sqrt(variance / released.squared_bound) / _UP
    return privacy_spent(noise_multiplier, participations, delta * math.exp(-apart)).epsilon + 2 * apart
