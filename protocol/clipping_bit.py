"""The bit of adaptive clipping: whether an update was within the clipping norm, as one more coordinate of the update.

It is written as +1/2 or -1/2 times a factor, and so it is rotated, masked, summed, noised and accounted with the
update: together they cost what the update alone would with a little less noise.

| here                                | paper                          |
|-------------------------------------|--------------------------------|
| `l2_clip_norm`                      | C                              |
| `count_noise`                       | σ_b, in devices                |
| `update_noise_multiplier`           | z_Δ, of the update alone       |
| `noise_multiplier`                  | z, of both                     |

Source: Andrew, Thakkar, McMahan, Ramaswamy 2021, arXiv 1905.03871, theorem 1.
"""

import math

import numpy as np

from protocol.arrays import FloatArray
from protocol.clipping import Clipped

_UP = 1 + 2.0**-50  # the rounding of a bound's own operations


def update_noise_multiplier(noise_multiplier: float, count_noise: float) -> float:
    """z_Δ: the noise multiplier of the update with which update and bit together cost what z costs.

    Args:
      noise_multiplier: z > 0, of both together.
      count_noise: σ_b > 0, standard deviation of the noise on the count, in devices.

    Returns:
      z_Δ = (z^-2 - (2 σ_b)^-2)^(-1/2) > z. The noise on the update's coordinates has deviation z_Δ C.

    Guarantees:
      What both cost is never more than what z costs: the result is rounded up.

    | count_noise    | result |
    |----------------|--------|
    | > z / 2        | > z    |
    | <= z / 2       | raises |

    Raises:
      ValueError: an argument is not a finite number > 0, or the count's noise alone costs more than z.

    """
    _check_positive("noise_multiplier", noise_multiplier)
    _check_positive("count_noise", count_noise)
    if not 2 * count_noise > noise_multiplier:
        raise ValueError(f"count_noise must be > half the noise_multiplier, {noise_multiplier / 2}, got {count_noise}")
    twice = 2 * count_noise
    _check_positive("2 * count_noise", twice)  # so large that it is infinite, it would leave NaN
    left = math.sqrt(twice - noise_multiplier) * math.sqrt(twice + noise_multiplier)  # a difference of squares cancels
    return noise_multiplier * (twice / left) * _UP


def joint_norm(l2_clip_norm: float, noise_multiplier: float, count_noise: float) -> float:
    """The norm of the longest update with its bit: C sqrt(1 + (z_Δ / (2 σ_b))^2), which is C z_Δ / z; rounded up.

    Raises:
      ValueError: as `coordinate_per_device`.

    """
    per_device = coordinate_per_device(l2_clip_norm, noise_multiplier, count_noise)
    return math.hypot(l2_clip_norm, per_device / 2) * _UP


def coordinate_per_device(l2_clip_norm: float, noise_multiplier: float, count_noise: float) -> float:
    """z_Δ C / σ_b: what a noised sum of bit coordinates is divided by to give devices.

    Args:
      l2_clip_norm: C > 0, in units of weight change.
      noise_multiplier: z > 0, of update and bit together.
      count_noise: σ_b > z / 2, in devices.

    Raises:
      ValueError: as `update_noise_multiplier`, or C is not a finite number > 0.

    """
    _check_positive("l2_clip_norm", l2_clip_norm)
    return update_noise_multiplier(noise_multiplier, count_noise) * l2_clip_norm / count_noise


def with_bit(clipped: Clipped, l2_clip_norm: float, noise_multiplier: float, count_noise: float) -> FloatArray:
    """Device: a clipped update with its bit behind it.

    Args:
      clipped: what `clip_to_norm` made of the update, [num_weights].
      l2_clip_norm: C, that it was clipped to.
      noise_multiplier: z, of update and bit together.
      count_noise: σ_b, in devices.

    Returns:
      float32 [num_weights + 1]; the last is +-1/2 z_Δ C / σ_b, in units of weight change, + if the update was within C.

    Guarantees:
      Its norm is below `joint_norm`, also after the float32 rounding of the bit: that is towards zero.

    Raises:
      ValueError: as `coordinate_per_device`.

    """
    exact = coordinate_per_device(l2_clip_norm, noise_multiplier, count_noise) / 2
    bit = np.nextafter(np.float32(-exact if clipped.was_clipped else exact), np.float32(0))
    return np.append(clipped.update, bit)


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number > 0, got {value}")
