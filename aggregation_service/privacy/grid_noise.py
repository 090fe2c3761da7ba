"""Noise on the integer grid: what a sum is rounded to, the exact noise that is added, and what accounting may claim.

Continuous noise in floats can be told from its last bits (Mironov 2012). Here a sum x, float64 [d], becomes integers,
x_g = round(x / g), and noise z is discrete Gaussian integers from an exact sampler; z is added as integers, so what is
released holds nothing of x but x_g + z. The step g is a power of two, so that x / g is exact, and as fine as the
sampler allows: sigma is 2^29 to 2^30 steps.

**Sensitivity.** One report replaced by zero moves x by C, plus what float64 sums round, and x_g by sqrt(d) steps more:
two roundings differ by less than 1 beyond what they round. `one_report_bound` adds this up. Sums in which the device
is not are the same floats, so they move by nothing.

**Correlated noise.** A mechanism adds integers z_t - r_t, where r_t is what it recalls of the noise of earlier rounds,
rounded. Given what was released before, each release is a discrete Gaussian around an integer, so the proof stays with
integers: `mechanisms.rounding` has it and says by how many steps the rounding of r_t can differ between neighbours in a
coordinate; `stream_bound` adds it up.

**Accounting.** Noise z of integer mean mu satisfies zCDP as the Gaussian does (Canonne, Kamath, Steinke 2020, arXiv
2004.00010, theorem 14), and so Rényi accounting holds. The exact (epsilon, delta) of the Gaussian hold too. Take y from
N(mu, sigma^2 - s^2), with s = 3 steps, and round it to the integer w with probability proportional to
exp(-(w - y)^2 / (2 s^2)). By Poisson's summation the result has the distribution of z but for factors of
1 +- 5 exp(-2 pi^2 s^2) a coordinate: z is a postprocessed Gaussian of deviation sqrt(sigma^2 - 9), and 10^12
coordinates change epsilon by less than 10^-60. `Grid.noise_deviation` is that deviation.
"""

import math
import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from aggregation_service.rounds.accumulator import SumArray
from protocol.discrete_gaussian import IntegerArray, RandomBytes, discrete_gaussian
from protocol.errors import NonFiniteUpdate

MIN_DEVIATION, MAX_DEVIATION = 2.0**-100, 2.0**100
SMOOTHING = 3
"""s, in steps: the rounding that turns a Gaussian into a discrete one."""
SMOOTHING_DIVERGENCE = 5 * math.exp(-2 * math.pi**2 * SMOOTHING**2)
"""By how much, as a logarithm, its chances differ from the discrete Gaussian's in a coordinate; 10^-76."""

MAX_SIZE = 1 << 25
"""Weights of a sum: for more, the bounds on float64 rounding would have to be looked at again."""

_PIECE = 1 << 16
_SIGMA_BITS = 30
_ROOM = 1 << 61  # steps of a sum, and of the noise: both together stay far within int64
_ROUNDOFF = 2.0**-53
_TURNING = 2048  # roundoffs, relative to the norm: what `unrotate` adds is 2 · (5 · 31 · sqrt(32) + 4) at most
_UP = 1 + 2.0**-50  # the rounding of a bound's own operations


class SumOffGrid(Exception):
    """A sum too large for the grid of its noise: beyond what reports of bounded norm could add up to."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The integers that a sum is rounded to, and the noise on them.

    Attributes:
      step_bits: the step g is 2^step_bits, in units of weight change.
      sigma: of the noise, in steps: 2^29 to 2^30.

    """

    step_bits: int
    sigma: int

    @property
    def step(self) -> float:
        """g, in units of weight change."""
        return math.ldexp(1.0, self.step_bits)

    @property
    def noise_deviation(self) -> float:
        """What accounting takes as the noise's standard deviation: sqrt(sigma^2 - 9) g, in units of weight change."""
        return math.nextafter(self.sigma * self.step, 0.0)

    def draw(self, size: int, random_bytes: RandomBytes = os.urandom) -> IntegerArray:
        """Fresh noise: int64 [size], discrete Gaussian of `sigma` steps; only tests pass another source."""
        return discrete_gaussian(Fraction(self.sigma), size, random_bytes)

    def to_grid(self, total: SumArray) -> IntegerArray:
        """Rounds a sum to the nearest steps.

        Args:
          total: float64 [size], in units of weight change.

        Guarantees:
          Each coordinate moves by half a step at most; beyond 2^53 steps, where floats are whole, by nothing. Errors
          do not say what is in the sum.

        | total                            | result |
        |----------------------------------|--------|
        | zero                             | zero   |
        | empty                            | empty  |
        | NaN or inf                       | raises |
        | 2^61 steps or more from zero     | raises |

        Raises:
          NonFiniteUpdate: the sum holds NaN or infinity.
          SumOffGrid: the sum is too large.

        """
        if not np.isfinite(total).all():
            raise NonFiniteUpdate("a sum must be finite")
        with np.errstate(over="ignore"):  # infinity is refused below
            steps: SumArray = np.rint(np.ldexp(total, -self.step_bits))
        if not (np.abs(steps) < _ROOM).all():
            raise SumOffGrid(f"a sum must be within 2^61 steps of 2^{self.step_bits} of zero")
        return steps.astype(np.int64)

    def with_fresh_noise(self, total: SumArray, random_bytes: RandomBytes = os.urandom) -> SumArray:
        """Rounds a sum, adds fresh noise, and turns the result back; piece by piece, so that memory is for one vector.

        Args:
          total: float64 [size], in units of weight change; stays as it was.
          random_bytes: the source; only tests pass another.

        Raises:
          NonFiniteUpdate, SumOffGrid: as `to_grid`.

        """
        noised = np.empty_like(total)
        for start in range(0, total.size, _PIECE):
            piece = slice(start, start + _PIECE)
            steps = self.to_grid(total[piece])
            steps += self.draw(steps.size, random_bytes)
            noised[piece] = self.from_grid(steps)
        return noised

    def from_grid(self, steps: IntegerArray) -> SumArray:
        """Turns steps into units of weight change, float64 [size]: of what is noised already, so rounding is free."""
        return np.ldexp(steps.astype(np.float64), self.step_bits)


def finest_grid(noise_deviation: float) -> Grid:
    """The finest grid for noise of at least that standard deviation.

    Args:
      noise_deviation: in units of weight change, `MIN_DEVIATION` to `MAX_DEVIATION`.

    Guarantees:
      `sigma * step` is at least `noise_deviation`, and more by a factor of 1 + 2^-29 at most.

    Raises:
      ValueError: zero, negative, not a number or beyond its bounds; a round without noise needs no grid.

    """
    if not MIN_DEVIATION <= noise_deviation <= MAX_DEVIATION:
        raise ValueError(
            f"noise_deviation must be between {MIN_DEVIATION:.3g} and {MAX_DEVIATION:.3g}, got {noise_deviation}"
        )
    fraction, exponent = math.frexp(noise_deviation)
    return Grid(step_bits=exponent - _SIGMA_BITS, sigma=math.ceil(math.ldexp(fraction, _SIGMA_BITS)))


def one_report_bound(grid: Grid, *, l2_clip_norm: float, size: int, max_reports: int) -> float:
    """How far one report, replaced by zero, moves the rounded sum at most: L2 norm, in units of weight change.

    Args:
      grid: that the sum is rounded to.
      l2_clip_norm: C > 0, what `clip_scaled` bounded the report to; of integers under secure aggregation, their
        `Quantiser.l2_bound`.
      size: d, coordinates of the sum, 1 to `MAX_SIZE`.
      max_reports: m, the most reports in a sum, 1 to 10^7.

    Returns:
      C (1 + (d + 8) u) + 2 (m + 2048) u m C + sqrt(d) g, u = 2^-53: clipping, whose norm is a float64 sum; adding m
      reports of norm C in any order, and turning the sum back, with and without the report; rounding to the grid.

    Raises:
      ValueError: an argument out of its bound.

    Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 4.2, for the float64 sums.

    """
    if not (l2_clip_norm > 0 and math.isfinite(l2_clip_norm)):
        raise ValueError(f"l2_clip_norm must be a finite number > 0, got {l2_clip_norm}")
    _check_between("size", size, MAX_SIZE)
    _check_between("max_reports", max_reports, 10_000_000)
    clipping = l2_clip_norm * (size + 8) * _ROUNDOFF
    adding = 2 * (max_reports + _TURNING) * _ROUNDOFF * max_reports * l2_clip_norm
    return (l2_clip_norm + clipping + adding + math.sqrt(size) * grid.step) * _UP


def stream_bound(
    grid: Grid, *, sensitivity: float, one_report: float, size: int, rounds: int, rounding_steps: float
) -> float:
    """How far one device moves the means of all noise of a correlated stream at most, over all rounds together.

    The stream is a Gaussian mechanism of noise multiplier `grid.noise_deviation` over this.

    Args:
      grid: of the stream.
      sensitivity: of the mechanism's matrix for reports of norm 1, over the participations of one device; >= 1.
      one_report: what `one_report_bound` says, in units of weight change.
      size: d, coordinates of each sum, 1 to `MAX_SIZE`.
      rounds: n, the stream's rounds so far, 1 to 10^6.
      rounding_steps: e >= 0, what `mechanisms.rounding.rounding_steps` says; 0 where nothing recalled is rounded.

    Returns:
      sensitivity * one_report + e sqrt(d n) g, in units of weight change.

    Raises:
      ValueError: an argument out of its bound.

    """
    least = {
        "sensitivity": (sensitivity, 1.0),
        "one_report": (one_report, 0.0),
        "rounding_steps": (rounding_steps, 0.0),
    }
    for name, (value, bound) in least.items():
        if not (value >= bound and math.isfinite(value)):
            raise ValueError(f"{name} must be a finite number >= {bound:g}, got {value}")
    _check_between("size", size, MAX_SIZE)
    _check_between("rounds", rounds, 1_000_000)
    rounding = rounding_steps * math.sqrt(size * rounds) * grid.step
    return (sensitivity * one_report + rounding) * _UP


def _check_between(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{name} must be 1 to {most}, got {value}")
