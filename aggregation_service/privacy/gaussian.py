"""Gaussian noise from the operating system's cryptographic generator.

Not met yet: the floating-point attack of Mironov 2012 ("On significance of the least significant bits"), by which the
exact bits of a continuous sample can betray what it was added to. The guarantee below is that of real numbers.
"""

import math
import os
from collections.abc import Callable

import numpy as np

from aggregation_service.rounds.accumulator import SumArray

RandomBytes = Callable[[int], bytes]

_CHUNK_PAIRS = 1 << 16  # 1 MB of random bytes at a time: memory stays flat, numpy stays busy


def standard_normal(size: int, random_bytes: RandomBytes = os.urandom) -> SumArray:
    """Draws `size` independent samples of N(0, 1).

    Args:
      size: number of samples, >= 0.
      random_bytes: the source; only tests pass another than `os.urandom`.

    Returns:
      float64 [size], always finite, |sample| <= sqrt(2 · 53 · ln 2) = 8.58.

    Source: Box and Muller 1958; two uniforms of 53 bits give two samples.

    """
    samples = np.empty(size + size % 2, np.float64)
    for start in range(0, samples.size, 2 * _CHUNK_PAIRS):
        part = samples[start : start + 2 * _CHUNK_PAIRS]
        _box_muller(part, random_bytes)
    return samples[:size]


def noised_sum(
    total: SumArray, *, noise_multiplier: float, l2_clip_norm: float, random_bytes: RandomBytes = os.urandom
) -> SumArray:
    """Adds N(0, (z·C)²) to each coordinate of a sum of updates that were clipped to C.

    Args:
      total: float64 [num_weights].
      noise_multiplier: z >= 0.
      l2_clip_norm: C > 0, which bounds the L2 norm of each report in the sum.
      random_bytes: the source; only tests pass another than `os.urandom`.

    Guarantees:
      One device's report replaced by zero (zero-out adjacency) changes `total` by at most C in L2 norm, so the result
      is a Gaussian mechanism of noise multiplier z. `total` stays as it was.

    | noise_multiplier   | result            |
    |--------------------|-------------------|
    | 0                  | `total`, no noise |
    | negative, NaN, inf | raises            |

    Raises:
      ValueError: a parameter out of its bound.

    Source: McMahan et al. 2018, arXiv 1710.06963, algorithm 1.

    """
    if not (noise_multiplier >= 0 and math.isfinite(noise_multiplier)):
        raise ValueError(f"noise_multiplier must be a finite number >= 0, got {noise_multiplier}")
    if not (l2_clip_norm > 0 and math.isfinite(l2_clip_norm)):
        raise ValueError(f"l2_clip_norm must be a finite number > 0, got {l2_clip_norm}")
    if noise_multiplier == 0:
        return total.copy()
    noise = standard_normal(total.size, random_bytes)
    noise *= noise_multiplier * l2_clip_norm
    noise += total
    return noise


def _box_muller(out: SumArray, random_bytes: RandomBytes) -> None:
    """Fills float64 [2·pairs] with standard normal samples."""
    pairs = out.size // 2
    bits = np.frombuffer(random_bytes(16 * pairs), np.uint64) >> np.uint64(11)
    radius_bits, angle_bits = bits[:pairs], bits[pairs:]
    radius = np.sqrt(-2.0 * np.log((radius_bits + np.uint64(1)) * 2.0**-53))  # uniform in (0, 1]: its log is finite
    angle = angle_bits * (2.0 * math.pi * 2.0**-53)
    np.multiply(radius, np.cos(angle), out=out[:pairs])
    np.multiply(radius, np.sin(angle), out=out[pairs:])
