"""What an adversary sees of updates, by how they are sent: alone, as a sum, with noise of the devices' own.

Masks are left out: a group's masks cancel in its sum. A single noised update is what a service would see if it had all
of a device's masks: more than secure aggregation ever shows, and the reason that it is needed beside the noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evaluation.audit.noises import RandomBytes, random_bytes
from evaluation.audit.words import Seen
from protocol.arrays import FloatArray
from protocol.distributed_noise import (
    NoiseTarget,
    SharedNoise,
    add_share,
    honest_survivors,
    shared_noise,
    value_bits_needed,
)
from protocol.lanes import LaneArray
from protocol.plan import SecureAggregationParameters
from protocol.quantisation import Quantiser
from protocol.update import UpdateFormat, encode_update, read_update

_ROUNDING = 0.5
"""Largest standard deviation of a value that is rounded at random to one of two neighbours, in integers."""
_BOUNDING = 2.5e-3 / 4
"""What bounding normal values at four deviations, the largest value L of a quantiser, does to them, in units of L."""


class View(Protocol):
    """One way to send."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    @property
    def members(self) -> int:
        """Devices whose updates are seen as one."""
        ...

    def see(self, updates: Sequence[FloatArray], seed: int) -> Seen:
        """What is seen of clipped updates, float32 [num_weights] each, as many as `members`."""
        ...


@dataclass(frozen=True)
class Plain:
    """A plain report."""

    update_format: UpdateFormat = "float32"
    members: int = 1

    @property
    def name(self) -> str:
        """See `View.name`."""
        return f"one update, {self.update_format}"

    def see(self, updates: Sequence[FloatArray], seed: int) -> Seen:
        """See `View.see`."""
        (update,) = updates
        read = read_update(encode_update(update, self.update_format), update.size, self.update_format)
        error = read.scale / math.sqrt(12) if self.update_format == "int16" else 0.0
        return Seen(read.scale * read.values.astype(np.float64), error)


@dataclass(frozen=True)
class GroupSum:
    """The sum of a group under secure aggregation, without noise."""

    quantiser: Quantiser
    members: int

    @property
    def name(self) -> str:
        """See `View.name`."""
        return f"sum of {self.members}"

    def see(self, updates: Sequence[FloatArray], seed: int) -> Seen:
        """See `View.see`."""
        rotation, draws = _randomness(seed)
        lanes = _add_up([self.quantiser.encode(update, rotation, draws) for update in updates])
        return Seen(self.quantiser.decode_sum(lanes, rotation), _error(self.quantiser, len(updates)))


@dataclass(frozen=True)
class Noised:
    """Updates with each device's share of the noise that its group of `cohort` needs: one of them, or the group's sum.

    Attributes:
      shared: what the group agreed on.
      noise_multiplier: of the whole group's noise.
      cohort: devices of the group.
      members: 1 or `cohort`.

    """

    shared: SharedNoise
    noise_multiplier: float
    cohort: int
    members: int

    @property
    def name(self) -> str:
        """See `View.name`."""
        if self.members == 1:
            return f"one update, share of noise {self.noise_multiplier:g}"
        return f"sum of {self.members}, noise {self.noise_multiplier:g}"

    def see(self, updates: Sequence[FloatArray], seed: int) -> Seen:
        """See `View.see`."""
        rotation, draws = _randomness(seed)
        quantiser = self.shared.quantiser
        encoded = (quantiser.encode(update, rotation, draws) for update in updates)
        lanes = _add_up([add_share(each, self.shared, draws) for each in encoded])
        error = _error(quantiser, len(updates), float(self.shared.sigma))
        return Seen(quantiser.decode_sum(lanes, rotation), error)


def views(
    l2_clip_norm: float, vector_length: int, groups: Sequence[int], noise_multipliers: Sequence[float]
) -> list[View]:
    """All ways under audit, in the order of tables.

    Args:
      l2_clip_norm: C, of the updates.
      vector_length: weights of an update.
      groups: sizes of groups under secure aggregation; noise is for the largest of them.
      noise_multipliers: z > 0 of a group's noise.

    Raises:
      ValueError: a group too small or too large for secure aggregation.

    """
    sums = [GroupSum(_quantiser(l2_clip_norm, vector_length, members), members) for members in groups]
    cohort = max(groups)
    shares = {z: _shared(l2_clip_norm, vector_length, cohort, z) for z in noise_multipliers}
    noised = [Noised(shared, z, cohort, members) for z, shared in shares.items() for members in (1, cohort)]
    return [Plain("float32"), Plain("int16"), *sums, *noised]


def _quantiser(l2_clip_norm: float, vector_length: int, members: int) -> Quantiser:
    return Quantiser(l2_clip_norm=l2_clip_norm, value_bits=16, max_cohort=members, vector_length=vector_length)


def _shared(l2_clip_norm: float, vector_length: int, cohort: int, noise_multiplier: float) -> SharedNoise:
    """Noise by the assumptions that a plan makes unless it says otherwise."""
    usual = SecureAggregationParameters(value_bits=16, min_members=2, max_members=cohort)
    honest = honest_survivors(
        cohort, adversary_fraction=usual.adversary_fraction, dropout_fraction=usual.dropout_fraction
    )
    target = NoiseTarget(
        noise_multiplier=noise_multiplier, max_cohort=cohort, num_honest=honest, vector_length=vector_length
    )
    return shared_noise(target, l2_clip_norm=l2_clip_norm, value_bits=value_bits_needed(target))


def _error(quantiser: Quantiser, members: int, sigma: float = 0.0) -> float:
    """Deviation of a decoded sum's coordinates from that of the updates: rounding, bounding, and shares of noise."""
    of_one = math.hypot(_ROUNDING, _BOUNDING * quantiser.largest_value, sigma)
    return math.sqrt(members) * of_one / quantiser.scale


def _add_up(lanes: Sequence[LaneArray]) -> LaneArray:
    """Modulo 2^lane."""
    total = lanes[0].copy()
    for each in lanes[1:]:
        total += each
    return total


def _randomness(seed: int) -> tuple[bytes, RandomBytes]:
    draws = random_bytes(seed, "view")
    return draws(32), draws
