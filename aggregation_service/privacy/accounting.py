"""From ledger to (ε, δ): what one device's whole log may have cost it so far.

Neighbours are zero-out (Kairouz et al. 2021, arXiv 2103.00039): in one, all updates of one device are zero instead; who
took part is the same in both. So a sum changes by at most C. Neighbours that lack the device are not claimed: a round
takes the first reports of an over-selected cohort, so a device that leaves lets another in, and the sum may change by
2C. Whether a device took part at all is therefore not what is protected; what it contributed is.

Rounds are accounted in full batch: which devices take part is decided by when they charge, not by a secret coin, so
there is no amplification by sampling to claim.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aggregation_service.privacy.charges import Charge, charges, effective_multiplier, most_participations
from aggregation_service.privacy.ledger import LedgerEvent

__all__ = [
    "PrivacySpent",
    "check_accountable",
    "most_participations",
    "privacy_spent",
    "spent_on_charges",
    "spent_on_worst_device",
]

_MOST_NOISE = 1e100  # its square is a float64 yet


class PrivacySpent(NamedTuple):
    """A guarantee: (epsilon, delta)-differential privacy and rho-zCDP; infinite where there is none."""

    epsilon: float
    delta: float
    rho: float


def privacy_spent(noise_multiplier: float, participations: int, delta: float) -> PrivacySpent:
    """What `participations` Gaussian releases cost the device that took part in all of them.

    The composition is itself a Gaussian mechanism, of noise multiplier z / sqrt(participations), so ε is exact: no
    accountant's grid is needed.

    Args:
      noise_multiplier: z >= 0.
      participations: >= 0.
      delta: in (0, 1).

    | noise_multiplier                    | participations | epsilon, rho |
    |-------------------------------------|----------------|--------------|
    | any                                 | 0              | 0            |
    | 0                                   | >= 1           | inf          |
    | z / sqrt(participations) below 10⁻⁶ | >= 1           | inf          |

    Guarantees:
      Falls with noise and with delta, grows with participations.

    Raises:
      ValueError: a parameter out of its bound.

    Source: Balle and Wang 2018, arXiv 1805.06530, theorem 8; Bun and Steinke 2016, arXiv 1605.02065, proposition 1.6.

    """
    return spent_on_charges([Charge(noise_multiplier, participations)], delta)


def spent_on_worst_device(events: Iterable[LedgerEvent], delta: float) -> PrivacySpent:
    """Bounds what the ledger cost the device that took part most often.

    Where noise multipliers differ, every participation is charged at the smallest: never under-reported.

    Raises:
      UnknownEvent: the ledger contradicts itself.
      ValueError: `delta` is not in (0, 1).

    """
    return spent_on_charges(charges(events), delta)


def spent_on_charges(charged: Iterable[Charge], delta: float) -> PrivacySpent:
    """What all charges cost together, exactly.

    Raises:
      ValueError: see `check_accountable`.

    Source: as `privacy_spent`; Dong, Roth and Su 2019, arXiv 1905.02383, corollary 3.3.

    """
    charged = tuple(charged)
    check_accountable(charged, delta)
    return _spent_on_gaussian(effective_multiplier(charged), delta)


def check_accountable(charged: Sequence[Charge], delta: float) -> None:
    """Refuses what no accountant may add up: infinite noise would be free, and so would be going through it -1 times.

    Raises:
      ValueError: a noise multiplier not in [0, 10^100], a negative number of participations, or `delta` not in (0, 1).

    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    for noise_multiplier, participations in charged:
        if not 0 <= noise_multiplier <= _MOST_NOISE:
            raise ValueError(f"noise_multiplier must be a number from 0 to {_MOST_NOISE:g}, got {noise_multiplier}")
        if participations < 0:
            raise ValueError(f"participations must be >= 0, got {participations}")


@lru_cache(maxsize=4096)
def _spent_on_gaussian(noise_multiplier: float, delta: float) -> PrivacySpent:
    """Of one Gaussian mechanism; infinity is noise that hides all, 0 is none."""
    if math.isinf(noise_multiplier):
        return PrivacySpent(0.0, delta, 0.0)
    if noise_multiplier == 0:
        return PrivacySpent(math.inf, delta, math.inf)
    import dp_accounting  # not earlier: with scipy it is 67 MB, which workers that only take reports never need

    with np.errstate(divide="ignore"):  # the search may pass a point where delta underflows to 0, whose log is -inf
        epsilon = float(dp_accounting.get_epsilon_gaussian(noise_multiplier, delta))
    return PrivacySpent(epsilon, delta, 1 / (2 * noise_multiplier * noise_multiplier))
