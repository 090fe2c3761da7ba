"""How a task's updates are summed: secure aggregation where cohorts are large enough, what that takes, and noise."""

import math

import msgspec

from aggregation_service.coordination.shares import shares_event
from aggregation_service.operations.shared import OperationError
from aggregation_service.privacy.ledger import UnknownEvent, encode_event
from aggregation_service.privacy.shares_planning import LEAST_SHARE_OF_MEMBERS, MAX_MEMBERS
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.parameters import RoundParameters
from protocol.discovery.ballot import Ballot
from protocol.distributed_noise import value_bits_needed
from protocol.errors import MalformedMessage
from protocol.lanes import MAX_VALUE_BITS, MIN_VALUE_BITS
from protocol.plan import (
    Plan,
    PrivacyParameters,
    SecureAggregationParameters,
    decode_plan,
    encode_plan,
    noise_target,
)
from protocol.secure_aggregation.sizing import NoSafeGraph, size_group

EVALUATION_BITS = 32
"""Of the few sums that an evaluation reports: they are to be exact, and cost nothing."""

_BITS = (12, 16, 20, 24, 32)
_LEAST_LARGEST_VALUE = 15
"""With fewer steps on either side of zero, rounding would add noticeably to the noise."""


def with_secure_aggregation(plan: Plan, parameters: RoundParameters) -> Plan:
    """A plan whose updates go through secure aggregation; one that says how stays as it is.

    Groups have up to `MAX_MEMBERS` members, or the cohort, and a quarter of that at least, if such a group has a safe
    graph; values the fewest bits that leave each update 15 steps on either side of zero.

    Raises:
      OperationError: the cohort is too small for any safe graph.

    """
    if plan.secure_aggregation is not None:
        return plan
    smallest, largest = _group_sizes(plan, parameters, least_share=1 / 4)
    for bits in _BITS:
        secure = SecureAggregationParameters(value_bits=bits, min_members=smallest, max_members=largest)
        chosen = _replaced(plan, secure)
        if chosen.quantiser is not None and chosen.quantiser.largest_value >= _LEAST_LARGEST_VALUE:
            return chosen
    raise OperationError(f"no number of bits is enough for groups of {largest} devices")


def with_noise_by_devices(plan: Plan, parameters: RoundParameters) -> Plan:
    """A plan whose noise its devices add, in shares, under secure aggregation; one that says how stays as it is.

    Groups have up to `MAX_MEMBERS` members, or the cohort, and three quarters of that at least, if such a group has a
    safe graph: each share is as large as the smallest group needs, so that full groups have more noise than that.
    Values have the fewest bits with which rounding raises the sensitivity by no more than 2 %.

    Raises:
      OperationError: the plan has no noise, its clipping adapts, the cohort is too small for any safe graph, or no
        number of bits is enough.
      MalformedMessage: the plan says how updates are summed, and that leaves no room for the noise.

    """
    if plan.privacy.noise_multiplier == 0:
        raise OperationError("noise_multiplier must be > 0 for noise by devices, got 0")
    if plan.privacy.count_noise is not None:
        raise OperationError("noise_by must be service for adaptive clipping, got devices")
    privacy = msgspec.structs.replace(plan.privacy, noise_by="devices")
    secure = plan.secure_aggregation
    if secure is None:
        smallest, largest = _group_sizes(plan, parameters, least_share=LEAST_SHARE_OF_MEMBERS)
        secure = SecureAggregationParameters(value_bits=MAX_VALUE_BITS, min_members=smallest, max_members=largest)
        try:
            bits = value_bits_needed(noise_target(secure, privacy.noise_multiplier, plan.update_size))
        except ValueError as error:
            raise OperationError(f"devices cannot make the plan's noise: {error}") from None
        secure = msgspec.structs.replace(secure, value_bits=bits)
    return _replaced(plan, secure, privacy)


def with_noise_by_service(plan: Plan) -> Plan:
    """A plan whose noise the service adds."""
    return _replaced(plan, plan.secure_aggregation, msgspec.structs.replace(plan.privacy, noise_by="service"))


def with_plain_updates(plan: Plan) -> Plan:
    """A plan whose reports are plain, so that the service sees each one."""
    return _replaced(plan, None)


def for_evaluation(plan: Plan) -> Plan:
    """An evaluation plan, whose seven sums get all bits there are where it wants secure aggregation."""
    secure = plan.secure_aggregation
    if secure is None:
        return plan
    return _replaced(plan, msgspec.structs.replace(secure, value_bits=EVALUATION_BITS))


def for_discovery(plan: Plan, privacy: PrivacyParameters, ballot: Ballot) -> Plan:
    """A plan that votes on `ballot`: under secure aggregation with the fewest bits that hold a vote of each member.

    Raises:
      MalformedMessage: the plan contradicts itself.

    """
    secure = plan.secure_aggregation
    if secure is not None:
        bits = max(MIN_VALUE_BITS, 1 + (secure.max_members - 1).bit_length())
        secure = msgspec.structs.replace(secure, value_bits=bits)
    changes = {"kind": "discovery", "discovery": ballot, "update_format": "float32"}
    return _replaced(plan, secure, privacy, **changes)


def check_groups(plan: Plan, parameters: RoundParameters) -> None:
    """Checks that a cohort can form a group at all.

    Raises:
      OperationError: it is smaller than a group must be, or no group that it can form would be safe.

    """
    secure = plan.secure_aggregation
    if secure is None:
        return
    cohort_size = parameters.cohort_size(plan.privacy.report_goal)
    if cohort_size < secure.min_members:
        raise OperationError(f"a cohort must have at least min_members, {secure.min_members}, got {cohort_size}")
    if not _has_safe_graph(min(cohort_size, secure.max_members), secure):
        raise OperationError(f"a group of {min(cohort_size, secure.max_members)} devices has no safe graph")


def require_noise(plan: Plan, parameters: RoundParameters) -> None:
    """Checks that the noise which a plan asks for can be made.

    Raises:
      OperationError: it is too little or too much for any grid, or there are too many weights or reports; or the ledger
        could not hold what devices make.

    """
    try:
        if (shared := plan.shared_noise) is None:
            sum_noise(plan, parameters)
        else:
            event = shares_event(
                shared, round_id="0" * 32, model_version=0, num_reports=shared.num_honest, max_participations=1
            )
            encode_event(event)
    except (ValueError, UnknownEvent) as error:
        raise OperationError(f"the plan's noise cannot be made: {error}") from None


def _has_safe_graph(size: int, secure: SecureAggregationParameters | None = None) -> bool:
    secure = secure or SecureAggregationParameters(value_bits=32, min_members=2, max_members=2)
    try:
        size_group(
            size,
            adversary_fraction=secure.adversary_fraction,
            dropout_fraction=secure.dropout_fraction,
            mode=secure.mode,
        )
    except NoSafeGraph:
        return False
    return True


def _group_sizes(plan: Plan, parameters: RoundParameters, *, least_share: float) -> tuple[int, int]:
    """Of a group: the fewest members, that share of the most or the next more that have a safe graph; and the most."""
    largest = min(parameters.cohort_size(plan.privacy.report_goal), MAX_MEMBERS)
    sizes = range(max(2, math.floor(largest * least_share)), largest + 1)
    smallest = next((size for size in sizes if _has_safe_graph(size)), None)
    if smallest is None:
        raise OperationError(f"a cohort of {largest} devices is too small for secure aggregation")
    return smallest, largest


def _replaced(
    plan: Plan,
    secure: SecureAggregationParameters | None,
    privacy: PrivacyParameters | None = None,
    **changes: object,
) -> Plan:
    """Checked against the devices' bounds by reading it as they do."""
    update_format = plan.update_format if secure is None else "float32"
    values = msgspec.structs.asdict(plan)
    values |= {"secure_aggregation": secure, "update_format": update_format, "privacy": privacy or plan.privacy}
    values |= changes
    try:
        return decode_plan(encode_plan(Plan(**values)))
    except ValueError as error:
        raise MalformedMessage(f"the plan contradicts itself: {error}") from None
