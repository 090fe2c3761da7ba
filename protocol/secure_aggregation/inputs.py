"""What joins a round's plan to a session: a device's terms, and updates as the integers that are masked and summed."""

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.distributed_noise import add_share, largest_norm
from protocol.lanes import LaneArray
from protocol.plan import Plan, SecureAggregationParameters
from protocol.quantisation import Quantiser
from protocol.secure_aggregation.errors import WeakParameters
from protocol.secure_aggregation.membership import Terms
from protocol.secure_aggregation.signing import Task

SECURE_MEDIA_TYPE = "application/vnd.keychorus.secure-aggregation"
"""Of every message of a session, masked inputs included."""

LEAST_MEMBERS = 5
LEAST_ADVERSARY_FRACTION = 0.05
LARGEST_DROPOUT_FRACTION = 0.25
"""The floor of every device, whoever signed the plan: fewer in a sum, fewer feared, or more let go are refused."""

_PLAIN = "the plan's reports are plain"
_ROTATION_DOMAIN = b"keychorus/secure-aggregation/rotation/v1\n"


class NotSecure(ValueError):
    """A plan whose reports are plain, where one of secure aggregation is needed."""


def terms_of(plan: Plan, task: Task) -> Terms:
    """Device: what it demands of a session for this plan.

    Raises:
      NotSecure: the plan's reports are plain.

    """
    secure = plan.secure_aggregation
    if secure is None:
        raise NotSecure(_PLAIN)
    return Terms(
        task=task,
        value_bits=secure.value_bits,
        vector_length=plan.update_size,
        min_members=secure.min_members,
        max_members=secure.max_members,
        adversary_fraction=secure.adversary_fraction,
        dropout_fraction=secure.dropout_fraction,
        mode=secure.mode,
    )


def encode_input(update: FloatArray, plan: Plan, task: Task, random_bytes: Callable[[int], bytes]) -> LaneArray:
    """Device: an update as lanes [update_size] of integers, clipped, with this device's share of noise if it adds one.

    Args:
      update: float32 [update_size].
      plan: of the round.
      task: of the session.
      random_bytes: a cryptographic source, of rounding and noise; nobody else may learn its bytes.

    Returns:
      See `Quantiser.encode` and, where `plan.shared_noise` is there, `add_share`; of a discovery `VoteCodec.encode`.

    Raises:
      NotSecure: the plan's reports are plain.
      NonFiniteUpdate: the update holds NaN or infinity.
      ValueError: votes that are not of this discovery.

    """
    if (codec := plan.vote_codec) is not None:
        return codec.encode(update)
    quantiser = _quantiser(plan)
    lanes = quantiser.encode(update, _rotation_seed(task), random_bytes)
    shared = plan.shared_noise
    return lanes if shared is None else add_share(lanes, shared, random_bytes)


def decode_sum(lanes: LaneArray, plan: Plan, task: Task, count: int) -> npt.NDArray[np.float64]:
    """Service: what the unmasked sum of `count` members stands for, float64 [update_size].

    Raises:
      NotSecure: the plan's reports are plain.

    """
    if (codec := plan.vote_codec) is not None:
        return codec.decode_sum(lanes, count)
    quantiser = _quantiser(plan)
    return quantiser.decode_sum(lanes, _rotation_seed(task))


def largest_sum(plan: Plan, count: int) -> float:
    """Service: the L2 norm, in units of weight change, that no decoded sum of `count` honest members exceeds.

    Where devices add noise it does with a chance of 2^-40. A sum beyond holds what no honest device sent.
    """
    shared = plan.shared_noise
    return count * plan.l2_sensitivity if shared is None else largest_norm(shared, count)


def require_floor(secure: SecureAggregationParameters) -> None:
    """Device: holds a plan against its own floor; the service signs its plans, and could sign one that protects nobody.

    Raises:
      WeakParameters: the plan fears too little of the service, or calls too few devices a group.

    """
    if secure.mode == "semi_honest":
        raise WeakParameters("a plan must not rest on a service that keeps to the protocol, got mode semi_honest")
    if secure.min_members < LEAST_MEMBERS:
        raise WeakParameters(f"min_members must be >= {LEAST_MEMBERS}, got {secure.min_members}")
    if secure.adversary_fraction < LEAST_ADVERSARY_FRACTION:
        least, got = LEAST_ADVERSARY_FRACTION, secure.adversary_fraction
        raise WeakParameters(f"adversary_fraction must be >= {least}, got {got}")
    if secure.dropout_fraction > LARGEST_DROPOUT_FRACTION:
        largest, got = LARGEST_DROPOUT_FRACTION, secure.dropout_fraction
        raise WeakParameters(f"dropout_fraction must be <= {largest}, got {got}")


def _rotation_seed(task: Task) -> bytes:
    """Public, and another one each round, so that nobody can choose an update that a rotation spreads badly."""
    return hashlib.sha256(_ROTATION_DOMAIN + task.context()).digest()


def _quantiser(plan: Plan) -> Quantiser:
    if plan.quantiser is None:
        raise NotSecure(_PLAIN)
    return plan.quantiser
