"""Four accountants beside each other, over the same charges of a ledger.

| accountant | what it adds up                                 | epsilon                                        |
|------------|-------------------------------------------------|------------------------------------------------|
| exact      | the one Gaussian mechanism that all charges are | exact: what statements state                   |
| PLD        | privacy loss distributions, on a grid           | an upper bound, a grid's width (10⁻⁴) above it |
| RDP        | Rényi divergences, at some orders               | an upper bound                                 |
| zCDP       | ρ                                               | an upper bound, of ρ alone                     |

The last two hold for noise from the discrete Gaussian as they do for real numbers, by theorem (Canonne, Kamath and
Steinke 2020, arXiv 2004.00010, proposition 5); the price is a few percent of ε and more.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggregation_service.privacy.accounting import PrivacySpent, check_accountable, spent_on_charges
from aggregation_service.privacy.charges import Charge, charges, effective_multiplier
from aggregation_service.privacy.ledger import LedgerEvent

if TYPE_CHECKING:
    from dp_accounting import DpEvent

MOST_EPSILON = 1e6
"""Noise for more would be lost in float64, and protect nothing."""
LEAST_PLD_MULTIPLIER = 0.3
"""With less noise PLD's grid takes seconds and more, and its cut-off tails begin to show."""


class Accounts(NamedTuple):
    """What the worst device has spent, by each accountant; `pld_epsilon` is None where its grid would be too large."""

    spent: PrivacySpent
    pld_epsilon: float | None
    rdp_epsilon: float
    zcdp_epsilon: float


def account(events: Iterable[LedgerEvent], delta: float) -> Accounts:
    """Lets every accountant add up a population's ledger.

    Args:
      events: oldest first.
      delta: in (0, 1).

    Guarantees:
      ε is infinite by every accountant but PLD, which is None then, where anything was released without noise.

    Raises:
      UnknownEvent: the ledger contradicts itself.
      ValueError: `delta` is not in (0, 1).

    """
    charged = charges(events)
    spent = spent_on_charges(charged, delta)
    return Accounts(
        spent=spent,
        pld_epsilon=pld_epsilon(charged, delta),
        rdp_epsilon=rdp_epsilon(charged, delta),
        zcdp_epsilon=zcdp_epsilon(spent.rho, delta),
    )


def pld_epsilon(charged: Sequence[Charge], delta: float) -> float | None:
    """ε by composition of privacy loss distributions.

    Returns:
      None where all noise together has a multiplier below `LEAST_PLD_MULTIPLIER`.

    Raises:
      ValueError: see `accounting.check_accountable`.

    Source: Doroshenko et al. 2022, arXiv 2207.04380.

    """
    check_accountable(charged, delta)
    multiplier = effective_multiplier(charged)
    if math.isinf(multiplier):
        return 0.0
    if multiplier < LEAST_PLD_MULTIPLIER:
        return None
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    accountant.compose(_dp_event(charged))
    return float(accountant.get_epsilon(delta))


def rdp_epsilon(charged: Sequence[Charge], delta: float) -> float:
    """ε by composition of Rényi divergences, at orders around the best one for this much noise.

    Raises:
      ValueError: see `accounting.check_accountable`.

    Source: Mironov 2017, arXiv 1702.07476; the conversion of Canonne, Kamath and Steinke 2020, proposition 12.

    """
    check_accountable(charged, delta)
    multiplier = effective_multiplier(charged)
    if math.isinf(multiplier):
        return 0.0
    if multiplier == 0:
        return math.inf
    from dp_accounting.rdp import RdpAccountant

    best = 1 + multiplier * math.sqrt(-2 * math.log(delta))
    accountant = RdpAccountant(orders=(1 + (best - 1) * np.geomspace(0.05, 20, 400)).tolist())
    accountant.compose(_dp_event(charged))
    return float(accountant.get_epsilon(delta))


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The ε that ρ-zCDP implies whatever the mechanism: ρ + 2·sqrt(ρ · ln(1/δ)).

    Args:
      rho: >= 0, infinity for no guarantee.
      delta: in (0, 1).

    Raises:
      ValueError: a parameter out of its bound.

    Source: Bun and Steinke 2016, arXiv 1605.02065, proposition 1.3.

    """
    if not rho >= 0:
        raise ValueError(f"rho must be >= 0, got {rho}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    return rho + 2 * math.sqrt(rho * -math.log(delta))


def noise_multiplier_for(epsilon: float, delta: float) -> float:
    """The noise multiplier of a Gaussian mechanism that costs exactly this, as plans need it.

    A stream needs this times its sensitivity, relative to the clipping norm.

    Args:
      epsilon: > 0 and <= `MOST_EPSILON`.
      delta: in (0, 1).

    Raises:
      ValueError: a parameter out of its bound.

    Source: Balle and Wang 2018, arXiv 1805.06530, theorem 8.

    """
    if not 0 < epsilon <= MOST_EPSILON:
        raise ValueError(f"epsilon must be > 0 and <= {MOST_EPSILON:g}, got {epsilon}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    import dp_accounting

    return float(dp_accounting.get_sigma_gaussian(epsilon, delta))


def _dp_event(charged: Sequence[Charge]) -> "DpEvent":
    """The charges in `dp_accounting`'s words."""
    from dp_accounting import ComposedDpEvent, GaussianDpEvent, SelfComposedDpEvent

    return ComposedDpEvent(
        [SelfComposedDpEvent(GaussianDpEvent(each.noise_multiplier), each.times) for each in charged if each.times]
    )
