"""Distributed noise: each device of a group adds a share, and only the sum carries enough of it to be released.

The service never sees less noise than the sum has, so it need not be trusted to add any. Shares are discrete Gaussian
integers, added modulo 2^b to what `Quantiser` encodes. Enough noise must remain when members drop out, and corrupt
members know their own shares: only those of honest members that stay are counted on. More than these do not harm.

| here           | Kairouz, Liu, Steinke 2021, arXiv 2102.06387                 |
|----------------|--------------------------------------------------------------|
| `sigma`        | σ / γ, of one device's share, in integers                    |
| `num_honest`   | n, how many shares are counted on                            |
| `value_bits`   | log2 m, of the modulus                                       |

In every coordinate noise of deviation z sqrt(K) is about z sqrt(B) / 4 times as wide as the largest value L of one
update: bits are for the noise, not for the updates.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction

from protocol.discrete_gaussian import MAX_TERM, RandomBytes, discrete_gaussian, sigma_at_least
from protocol.lanes import MAX_VALUE_BITS, MIN_VALUE_BITS, LaneArray, check_lanes
from protocol.quantisation import Quantiser

MIN_SHARE_SIGMA = Fraction(3)
"""From here on a sum of shares protects as the Gaussian does, but for 10^-24 (`aggregation_service.privacy.shares`)."""

_UP = 1 + 2.0**-50  # the rounding of a formula's own operations
_CHUNK_LENGTH = 1 << 16  # coordinates at a time: a device never holds all noise as int64


@dataclass(frozen=True, kw_only=True)
class NoiseTarget:
    """How much noise the sum of a group shall carry, whoever of the assumed members stays.

    Attributes:
      noise_multiplier: z > 0: the deviation of the honest shares' sum over the sensitivity sqrt(K) of the integers.
      max_cohort: the most members of a group, who all add a share.
      num_honest: shares that are counted on, 1 to `max_cohort`: `least_honest_survivors` of all sizes of a group.
      vector_length: d >= 1, the number of weights.
      overflow_chance: that any coordinate of a sum wraps around; in (0, 1).

    Raises:
      ValueError: one of these is out of its bound.

    """

    noise_multiplier: float
    max_cohort: int
    num_honest: int
    vector_length: int
    overflow_chance: float = 2.0**-40

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise ValueError(f"noise_multiplier must be a finite number > 0, got {self.noise_multiplier}")
        if not 1 <= self.num_honest <= self.max_cohort:
            raise ValueError(f"num_honest must be 1 to the {self.max_cohort} of the cohort, got {self.num_honest}")
        if self.vector_length < 1:
            raise ValueError(f"vector_length must be >= 1, got {self.vector_length}")
        if not 0 < self.overflow_chance < 1:
            raise ValueError(f"overflow_chance must be in (0, 1), got {self.overflow_chance}")


@dataclass(frozen=True, kw_only=True)
class SharedNoise:
    """What the devices of a group and the service agree on, so that the group's sum is private when they see it.

    Attributes:
      quantiser: with room for the noise.
      sigma: of each device's share, in the quantiser's integers.
      num_honest: shares that are counted on.

    """

    quantiser: Quantiser
    sigma: Fraction
    num_honest: int

    def deviation(self, num_shares: int) -> float:
        """Of each coordinate of a decoded sum that holds so many shares, in units of weight change."""
        return math.sqrt(num_shares) * float(self.sigma) / self.quantiser.scale


def honest_survivors(
    num_members: int, *, adversary_fraction: float, dropout_fraction: float, min_members: int = 1
) -> int:
    """How many members of a group are honest and in its sum, at least, under the assumptions that sized its graph.

    Args:
      num_members: n, >= 1.
      adversary_fraction: of the members, who side with the service; their number is rounded up.
      dropout_fraction: of the members, who drop out; their number is rounded up. With more the group has no sum.
      min_members: fewest members of any sum; with fewer the group has none either.

    Guarantees:
      Fractions mean the decimals that they are written as.

    Raises:
      ValueError: a fraction not in [0, 1), or nobody is left.

    """
    for name, fraction in (("adversary_fraction", adversary_fraction), ("dropout_fraction", dropout_fraction)):
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} must be in [0, 1), got {fraction}")
    corrupt, dropped = (
        math.ceil(Fraction(str(fraction)) * num_members) for fraction in (adversary_fraction, dropout_fraction)
    )
    left = max(num_members - dropped, min_members) - corrupt
    if not corrupt < num_members or left < 1:
        raise ValueError(f"num_members must leave an honest member that stays, got {num_members}")
    return left


def least_honest_survivors(
    min_members: int, max_members: int, *, adversary_fraction: float, dropout_fraction: float
) -> int:
    """The least of `honest_survivors` over all sizes of a group: one more member may be rounded up to two lost ones.

    Raises:
      ValueError: as there, or no size is between `min_members` and `max_members`.

    """
    if not 1 <= min_members <= max_members:
        raise ValueError(f"min_members must be 1 to max_members, {max_members}, got {min_members}")
    return min(
        honest_survivors(
            num_members,
            adversary_fraction=adversary_fraction,
            dropout_fraction=dropout_fraction,
            min_members=min_members,
        )
        for num_members in range(min_members, max_members + 1)
    )


def share_sigma(noise_deviation: float, num_honest: int) -> Fraction:
    """The sigma of each share, so that `num_honest` of them add up to noise of at least `noise_deviation`.

    Args:
      noise_deviation: of the sum, in integers, in (0, 2^30].
      num_honest: shares that are counted on, >= 1.

    Guarantees:
      num_honest * sigma^2 >= noise_deviation^2, exactly, and sigma >= `MIN_SHARE_SIGMA`.

    Raises:
      ValueError: an argument out of its bound.

    """
    if num_honest < 1:
        raise ValueError(f"num_honest must be >= 1, got {num_honest}")
    if not 0 < noise_deviation <= MAX_TERM:
        raise ValueError(f"noise_deviation must be > 0 and <= {MAX_TERM}, got {noise_deviation}")
    share = max(noise_deviation / math.sqrt(num_honest) * _UP, float(MIN_SHARE_SIGMA))
    return sigma_at_least(min(share, float(MAX_TERM)))


def add_share(lanes: LaneArray, shared: SharedNoise, random_bytes: RandomBytes) -> LaneArray:
    """Device: adds its share of the noise to its encoded update, before it is masked.

    Args:
      lanes: what `shared.quantiser` encoded.
      shared: what the group agreed on.
      random_bytes: a cryptographic source, whose bytes nobody else may learn.

    Returns:
      `lane_dtype(value_bits)` [vector_length], a new array; modulo 2^value_bits, bits above are to be ignored.

    Raises:
      ValueError: lanes of another type or length than the quantiser's.

    """
    check_lanes(lanes, shared.quantiser.value_bits)
    if lanes.size != shared.quantiser.vector_length:
        raise ValueError(f"lanes must have {shared.quantiser.vector_length} values, got {lanes.size}")
    noised = lanes.copy()
    for start in range(0, lanes.size, _CHUNK_LENGTH):
        part = noised[start : start + _CHUNK_LENGTH]
        part += discrete_gaussian(shared.sigma, part.size, random_bytes).astype(lanes.dtype)  # modulo 2^lane
    return noised


def noise_room(target: NoiseTarget, sigma: Fraction) -> int:
    """How far from zero the sum of all shares stays in every coordinate, but for the target's `overflow_chance`.

    A sum that wraps around costs accuracy, never privacy: reducing it is post-processing.

    Returns:
      ceil(sigma sqrt(2 n ln(2 d / chance))), with n the most members.

    Source: Canonne, Kamath, Steinke 2020, arXiv 2004.00010: E[exp(t z)] <= exp(t^2 sigma^2 / 2), so the sum of n shares
      is sub-Gaussian of variance proxy n sigma^2; and a union over both sides of d coordinates.

    """
    exponent = math.log(2 * target.vector_length) - math.log(target.overflow_chance)
    return math.ceil(float(sigma) * math.sqrt(2 * target.max_cohort * exponent) * _UP)


def largest_norm(shared: SharedNoise, num_shares: int, chance: float = 2.0**-40) -> float:
    """The L2 norm that a decoded sum of honest members exceeds with a chance of `chance` at most.

    Args:
      shared: what the group agreed on.
      num_shares: members in the sum, each with an update and a share, >= 1.
      chance: in (0, 1).

    Returns:
      In units of weight change. With X the most that updates add up to, v = n sigma^2 and t = ln(2 / chance):
      sqrt(X^2 + 2 X sqrt(2 v t) + v (d + 2 sqrt(d t) + 2 t)).

    Source: Hsu, Kakade, Zhang 2012, arXiv 1110.2842, theorem 2.1, for the noise's own norm; half of the chance is its,
      half that of its component along the updates, sub-Gaussian of the same proxy v.

    """
    updates = num_shares * math.sqrt(shared.quantiser.squared_bound)
    proxy, tail = num_shares * float(shared.sigma) ** 2, math.log(2) - math.log(chance)
    length = shared.quantiser.vector_length
    noise = proxy * (length + 2 * math.sqrt(length * tail) + 2 * tail)
    return math.sqrt(updates**2 + 2 * updates * math.sqrt(2 * proxy * tail) + noise) / shared.quantiser.scale * _UP


def shared_noise(target: NoiseTarget, *, l2_clip_norm: float, value_bits: int) -> SharedNoise:
    """The finest quantiser of that many bits that leaves the group's noise room, and the share of each device.

    Args:
      target: how much noise.
      l2_clip_norm: C > 0, in units of weight change.
      value_bits: b, 8 to 32.

    Guarantees:
      An L larger by one would leave the noise too little room, or is beyond what the quantiser takes.

    Raises:
      ValueError: an argument out of its bound, or b bits are too few.

    Source: Kairouz, Liu, Steinke 2021, arXiv 2102.06387, where k standard deviations bound what wraps around.

    """
    shared = _finest(target, l2_clip_norm, value_bits)
    if shared is None:
        raise ValueError(f"value_bits must leave noise of {target.noise_multiplier} norms room, got {value_bits}")
    return shared


def value_bits_needed(target: NoiseTarget, max_inflation: float = 0.02) -> int:
    """The fewest bits with which rounding raises the sensitivity by no more than a share.

    Args:
      target: how much noise.
      max_inflation: `l2_bound` is at most 1 + this times the clipping norm; > 0.

    Raises:
      ValueError: `max_inflation` is out of its bound, or 32 bits are too few.

    """
    if not max_inflation > 0:
        raise ValueError(f"max_inflation must be > 0, got {max_inflation}")
    fewest = max(MIN_VALUE_BITS, target.max_cohort.bit_length() + 1)  # with less no cohort of that size has any values
    for value_bits in range(fewest, MAX_VALUE_BITS + 1):
        shared = _finest(target, 1.0, value_bits)
        if shared is not None and shared.quantiser.l2_bound <= 1 + max_inflation:
            return value_bits
    raise ValueError(f"{MAX_VALUE_BITS} bits must suffice for {target}")


def _finest(target: NoiseTarget, l2_clip_norm: float, value_bits: int) -> SharedNoise | None:
    """The quantiser of the largest values that leave the noise its room, if any do."""
    widest = Quantiser(
        l2_clip_norm=l2_clip_norm,
        value_bits=value_bits,
        max_cohort=target.max_cohort,
        vector_length=target.vector_length,
    )
    values = range(1, widest.largest_value + 1)
    fitting = bisect_left(values, True, key=lambda value: _with_largest_value(target, widest, value) is None)
    return _with_largest_value(target, widest, fitting) if fitting else None


def _with_largest_value(target: NoiseTarget, widest: Quantiser, largest_value: int) -> SharedNoise | None:
    """The quantiser of values up to `largest_value` and its noise, or None if that has too little room."""
    room = (1 << (widest.value_bits - 1)) - 1 - largest_value * widest.max_cohort
    quantiser = replace(widest, noise_room=room)
    deviation = target.noise_multiplier * math.sqrt(quantiser.squared_bound) * _UP
    if deviation > MAX_TERM:
        return None
    sigma = share_sigma(deviation, target.num_honest)
    if noise_room(target, sigma) > room:
        return None
    return SharedNoise(quantiser=quantiser, sigma=sigma, num_honest=target.num_honest)
