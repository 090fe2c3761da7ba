"""The event of a sum whose noise its devices added: what is known of it before it is opened."""

from aggregation_service.privacy.ledger import DistributedSumReleased
from aggregation_service.privacy.shares import sum_of
from protocol.distributed_noise import SharedNoise


def shares_event(
    shared: SharedNoise, *, round_id: str, model_version: int, num_reports: int, max_participations: int
) -> DistributedSumReleased:
    """Makes the event of one group's sum.

    Args:
      shared: of the group's plan.
      round_id: as in the event, like all that follow.
      model_version: see there.
      num_reports: members in the sum.
      max_participations: see there.

    Raises:
      ValueError: fewer reports than shares that are counted on.

    """
    counted_on = sum_of(shared)
    return DistributedSumReleased(
        round_id=round_id,
        model_version=model_version,
        num_reports=num_reports,
        max_participations=max_participations,
        noise_multiplier=counted_on.gaussian_multiplier,
        l2_clip_norm=shared.quantiser.l2_bound,
        sigma_numerator=shared.sigma.numerator,
        sigma_denominator=shared.sigma.denominator,
        num_shares=counted_on.num_shares,
        squared_bound=counted_on.squared_bound,
        vector_length=counted_on.vector_length,
    )
