"""What a task needs for a clipping norm that adapts: a count with its noise, and bounds that any round can have."""

import msgspec

from aggregation_service.operations.aggregation import require_noise
from aggregation_service.operations.shared import OperationError
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.rounds.parameters import RoundParameters
from protocol.errors import MalformedMessage
from protocol.plan import Plan, decode_plan, encode_plan

BOUNDS = 10.0
"""Floor and ceiling, unless given: the plan's clipping norm divided by this, and times this."""

COUNT_SHARE = 20
"""The count's noise, unless given: the report goal divided by this (arXiv 1905.03871, section 3)."""


def default_count_noise(plan: Plan) -> float:
    """In devices: the report goal / 20, but in small cohorts the noise multiplier, which takes 15 % more noise."""
    return max(plan.privacy.report_goal / COUNT_SHARE, plan.privacy.noise_multiplier)


def with_count_noise(plan: Plan, count_noise: float) -> Plan:
    """The plan, of which devices also report whether they were within the clipping norm.

    Raises:
      OperationError: a count without noise, with less than all noise together has, or of an evaluation.

    """
    if plan.privacy.noise_multiplier == 0:
        raise OperationError("noise_multiplier must be > 0 for adaptive clipping, got 0")
    return _changed(plan, count_noise=count_noise)


def check_clipping(parameters: RoundParameters, plan: Plan) -> None:
    """Checks that plan and parameters agree on whether clipping adapts, and that every norm can be a round's.

    Raises:
      OperationError: one of them has adaptive clipping and the other has not, or a bound is not for this plan.

    """
    clipping, count_noise = parameters.adaptive_clipping, plan.privacy.count_noise
    if clipping is None and count_noise is None:
        return
    if clipping is None:
        raise OperationError(f"count_noise must be left out of a plan whose clipping does not adapt, got {count_noise}")
    if count_noise is None:
        raise OperationError("the plan must have a count_noise for adaptive clipping, got none")
    _check_bounds(clipping, plan, parameters)


def _check_bounds(clipping: ClippingParameters, plan: Plan, parameters: RoundParameters) -> None:
    norm = plan.privacy.l2_clip_norm
    if not clipping.floor <= norm <= clipping.ceiling:
        raise OperationError(
            f"the plan's l2_clip_norm must be between the floor of {clipping.floor:g} and the ceiling of "
            f"{clipping.ceiling:g}, got {norm:g}"
        )
    for bound in (clipping.floor, clipping.ceiling):
        require_noise(_changed(plan, l2_clip_norm=bound), parameters)


def _changed(plan: Plan, **privacy: float) -> Plan:
    """Checked against the devices' bounds by reading it as they do."""
    try:
        changed = msgspec.structs.replace(plan, privacy=msgspec.structs.replace(plan.privacy, **privacy))
        return decode_plan(encode_plan(changed))
    except (MalformedMessage, ValueError) as error:
        raise OperationError(f"clipping cannot adapt: {error}") from None
