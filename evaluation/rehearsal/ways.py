"""The ways from what devices send to an average: what the service does, without HTTP, database and noise.

Masks are left out of secure aggregation: in a sum of all survivors they cancel exactly, which the tests of
`protocol.secure_aggregation` hold. Encoding, the sum modulo 2^b, decoding and the check of its norm are the real ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from aggregation_service.rounds.accumulator import ClippedUpdate, PartialSum, SumArray, clip_scaled
from aggregation_service.rounds.combining import RobustRule
from evaluation.rehearsal.people import draw_seed
from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm, l2_norm
from protocol.errors import NonFiniteUpdate
from protocol.keystream import Keystream
from protocol.lanes import LaneArray, signed_values
from protocol.plan import Plan
from protocol.secure_aggregation.inputs import decode_sum, encode_input, largest_sum
from protocol.secure_aggregation.signing import Task
from protocol.update import UpdateFormat, encode_update, read_update

_ROUNDING = 1 + 1e-9  # as the service allows for the float64 of decoding
_LABEL = b"keychorus rehearsal v1"


class Sent(NamedTuple):
    """What one device of a cohort sends: float32 [num_weights], clipped unless it is `forged`."""

    update: FloatArray
    forged: bool


class Combined(NamedTuple):
    """What a round came to.

    Attributes:
      average: float64 [num_weights].
      reports: updates in it.
      dropped_groups: whose sums were beyond what honest devices can reach.

    """

    average: SumArray
    reports: int
    dropped_groups: int = 0


class Way(Protocol):
    """One way to combine a round."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    def combine(self, sent: Sequence[Sent], plan: Plan, seed: int) -> Combined:
        """Combines what a cohort sent.

        Args:
          sent: in the order of the cohort.
          plan: of the round, as this way needs it; see `RehearsalSettings`.
          seed: of the round's randomness.

        """
        ...


@dataclass(frozen=True)
class PlainMean:
    """Plain reports, clipped again by the service, summed and divided by the report goal.

    Attributes:
      update_format: on the wire.
      clips_again: False shows what the service's check is for; no service can be told to leave it out.

    """

    update_format: UpdateFormat = "float32"
    clips_again: bool = True

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"mean of {self.update_format}" if self.clips_again else "mean, unchecked"

    def combine(self, sent: Sequence[Sent], plan: Plan, seed: int) -> Combined:
        """See `Way.combine`."""
        bound = plan.privacy.l2_clip_norm if self.clips_again else np.inf
        total = PartialSum(plan.update_size)
        total.propose(received(sent, plan, self.update_format, bound))
        total.accept()
        return Combined(total.total / plan.privacy.report_goal, total.num_updates)


@dataclass(frozen=True)
class Robust:
    """Plain reports, clipped again, and a rule that few of them cannot carry away."""

    rule: RobustRule
    name: str

    def combine(self, sent: Sequence[Sent], plan: Plan, seed: int) -> Combined:
        """See `Way.combine`."""
        updates = [each.values * np.float32(each.scale) for each in received(sent, plan)]
        if not updates:
            return Combined(np.zeros(plan.update_size), 0)
        return Combined(self.rule.combine(np.stack(updates).astype(np.float32, copy=False)), len(updates))


@dataclass(frozen=True)
class Secure:
    """Secure aggregation in groups of nearly equal size.

    Attributes:
      group_size: most members of a group.

    """

    group_size: int

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"secure, groups ≤ {self.group_size}"

    def combine(self, sent: Sequence[Sent], plan: Plan, seed: int) -> Combined:
        """See `Way.combine`."""
        task = _task(seed)
        groups = [
            (_group_sum(members, plan, task, draw_seed(seed, place)), len(members))
            for place, members in enumerate(cut_evenly(sent, self.group_size))
        ]
        kept = [(total, count) for total, count in groups if is_reachable(total, count, plan)]
        total = np.sum([total for total, _ in kept], axis=0) if kept else np.zeros(plan.update_size)
        reports = sum(count for _, count in kept)
        return Combined(total / plan.privacy.report_goal, reports, len(groups) - len(kept))


def received(
    sent: Sequence[Sent], plan: Plan, update_format: UpdateFormat = "float32", bound: float | None = None
) -> list[ClippedUpdate]:
    """Updates as a service takes them from the wire; what is not finite is refused."""
    updates = []
    for each in sent:
        try:
            read = read_update(encode_update(each.update, update_format), plan.update_size, update_format)
            updates.append(clip_scaled(read, plan.privacy.l2_clip_norm if bound is None else bound))
        except NonFiniteUpdate:
            continue
    return updates


def encode_forged(update: FloatArray, plan: Plan, task: Task, draws: Keystream) -> LaneArray:
    """Attacker: lanes of an update that it did not clip, as far as lanes can express it.

    It multiplies the integers of the clipped update, and stays at the largest that b bits hold where that is too much:
    going on would wrap around and point the other way.
    """
    secure = plan.secure_aggregation
    times = max(1.0, l2_norm(update) / plan.privacy.l2_clip_norm)
    lanes = encode_input(update, plan, task, draws.read)
    if times == 1.0 or secure is None:
        return lanes
    largest = (1 << (secure.value_bits - 1)) - 1
    values = np.rint(signed_values(lanes, secure.value_bits) * times).clip(-largest, largest).astype(np.int64)
    forged: LaneArray = values.astype(lanes.dtype)
    return forged


def is_reachable(total: SumArray, count: int, plan: Plan) -> bool:
    """Whether `count` honest updates can add up to `total`, as the service asks of each group."""
    return bool(np.linalg.norm(total) <= largest_sum(plan, count) * _ROUNDING)


def cut_evenly(sent: Sequence[Sent], group_size: int) -> list[Sequence[Sent]]:
    """Cuts a cohort into as few groups of nearly equal size as `group_size` allows."""
    count = -(-len(sent) // group_size)
    edges = [len(sent) * place // count for place in range(count + 1)]
    return [sent[first:last] for first, last in pairwise(edges)]


def _group_sum(members: Sequence[Sent], plan: Plan, task: Task, seed: int) -> SumArray:
    """Encodes, adds modulo 2^b and decodes."""
    total: LaneArray | None = None
    for place, member in enumerate(members):
        draws = Keystream(hashlib.sha256(f"{seed}\n{place}".encode()).digest(), _LABEL)
        if member.forged:
            lanes = encode_forged(member.update, plan, task, draws)
        else:
            lanes = encode_input(clip_to_norm(member.update, plan.privacy.l2_clip_norm).update, plan, task, draws.read)
        total = lanes if total is None else total + lanes
    if total is None:
        raise ValueError("a group must have at least 1 member, got 0")
    return decode_sum(total, plan, task, len(members))


def _task(seed: int) -> Task:
    """A round's task: another one each round, so that each has a rotation of its own."""
    digest = hashlib.sha256(f"rehearsal\n{seed}".encode())
    return Task(population="rehearsal", round_id=digest.hexdigest()[:32], plan_sha256=digest.digest())
