"""How much noise devices must make, where they add it in shares, and what it does to the weights: see `planning`."""

import math

import msgspec

from aggregation_service.privacy.accountants import noise_multiplier_for
from aggregation_service.privacy.accounting import spent_on_charges
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.planning import Deployment, error_by_round, require_possible, rounded_up
from aggregation_service.privacy.shares import sum_of
from protocol.distributed_noise import SharedNoise, shared_noise, value_bits_needed
from protocol.lanes import MAX_VALUE_BITS
from protocol.plan import SecureAggregationParameters, noise_target
from protocol.secure_aggregation.inputs import LEAST_MEMBERS

MAX_MEMBERS = 128
"""Of one group of secure aggregation, unless a plan says otherwise: in mode `malicious` work grows with it; see
docs/performance.md."""
LEAST_SHARE_OF_MEMBERS = 3 / 4
"""Of the largest group where devices make the noise, the smallest: each share is as large as that one needs."""


class SharesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What noise by devices needs, and what it does; fresh in every round.

    Attributes:
      members: of the largest group.
      num_honest: shares that are counted on in any group.
      value_bits: of each weight of a masked update.
      noise_multiplier: z for the plan: the deviation of the shares counted on in one group's sum, over the sensitivity.
      epsilon: what the ledger tells after the last round.
      rms_error: as in `NoisePlan`, of the shares of the whole cohort: more than are counted on, and of all groups.
      largest_error: likewise.

    """

    members: int
    num_honest: int
    value_bits: int
    noise_multiplier: float
    epsilon: float
    rms_error: float
    largest_error: float


def plan_shares(deployment: Deployment) -> SharesPlan | None:
    """As `plan_noise`, for noise that devices add in shares, each group enough for itself.

    Returns:
      None for a cohort too small for any group.

    Raises:
      ValueError: more noise were needed than a plan may have, or than the largest modulus has room for.

    Source: Kairouz, Liu, Steinke 2021, arXiv 2102.06387.

    """
    if deployment.cohort < LEAST_MEMBERS:
        return None
    multiplier = noise_multiplier_for(deployment.epsilon, deployment.delta) * math.sqrt(deployment.participations)
    while True:
        multiplier = rounded_up(multiplier)
        bits, shared = _shared(multiplier, deployment)
        spent = spent_on_charges(
            [Charge(sum_of(shared).gaussian_multiplier, deployment.participations)], deployment.delta
        )
        if spent.epsilon <= deployment.epsilon:
            break
        multiplier = math.nextafter(multiplier, math.inf)
    made = shared.deviation(deployment.cohort) / deployment.l2_clip_norm
    errors = error_by_round(Independent(), made, deployment)
    return SharesPlan(
        members=min(deployment.cohort, MAX_MEMBERS),
        num_honest=shared.num_honest,
        value_bits=bits,
        noise_multiplier=multiplier,
        epsilon=spent.epsilon,
        rms_error=math.sqrt(float((errors * errors).mean())),
        largest_error=float(errors.max()),
    )


def _shared(noise_multiplier: float, deployment: Deployment) -> tuple[int, SharedNoise]:
    """The fewest bits for such noise in groups of the usual sizes and assumptions, and what devices then agree on."""
    require_possible(noise_multiplier, deployment)
    largest = min(deployment.cohort, MAX_MEMBERS)
    smallest = max(2, math.floor(largest * LEAST_SHARE_OF_MEMBERS))
    usual = SecureAggregationParameters(value_bits=MAX_VALUE_BITS, min_members=smallest, max_members=largest)
    target = noise_target(usual, noise_multiplier, deployment.num_weights)
    bits = value_bits_needed(target)
    return bits, shared_noise(target, l2_clip_norm=deployment.l2_clip_norm, value_bits=bits)
