"""Discrete Gaussian noise: exact samples, from bytes and integers alone.

Device and service add it to integers, so no bit of a float can betray what it was added to (Mironov 2012, "On
significance of the least significant bits"). Whole vectors are drawn at once, yet every decision is exact: a coin of
probability p compares 16 random bits with the first 16 bits of p, and where they are equal, which is once in 65,536,
`_settle` goes on with the bits that follow.

| here                   | Canonne, Kamath, Steinke 2020, arXiv 2004.00010            |
|------------------------|------------------------------------------------------------|
| `sigma` = a / b        | σ; the paper takes σ² rational, here σ itself is           |
| Laplace's scale, sigma | t, floor(σ) + 1 there: any t is right, σ needs fewest bits |
| `quotient`, `rest`     | k and m with (abs(Y) - σ) / σ = k + m / a                  |
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

RandomBytes = Callable[[int], bytes]
"""Gives that many bytes from a cryptographic source, as `secrets.token_bytes` does."""
IntegerArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_TERM = 1 << 30
"""Bounds numerator and denominator of sigma: what is computed from them then stays below 2^62."""

_TERM_BITS = 30
_COIN_BITS = 16
_CHUNK = 1 << 16  # proposals at a time: their int64 stay in the processor's cache


def sigma_at_least(deviation: float) -> Fraction:
    """The least sigma that `discrete_gaussian` takes, of a power of two as denominator, that is >= `deviation`.

    Args:
      deviation: in (0, 2^30].

    Guarantees:
      Noise is never less than asked for; above 1/2 it is more by a factor of 1 + 2^-29 at most.

    Raises:
      ValueError: `deviation` is out of its bound.

    """
    if not 0 < deviation <= MAX_TERM:
        raise ValueError(f"deviation must be > 0 and <= {MAX_TERM}, got {deviation}")
    denominator_bits = max(0, min(_TERM_BITS - math.frexp(deviation)[1], _TERM_BITS))
    return Fraction(math.ceil(math.ldexp(deviation, denominator_bits)), 1 << denominator_bits)


def discrete_gaussian(sigma: Fraction, size: int, random_bytes: RandomBytes) -> IntegerArray:
    """Draws `size` independent samples z with P(z) proportional to exp(-z^2 / (2 sigma^2)), z an integer.

    Args:
      sigma: a / b in lowest terms, 1 <= a, b <= `MAX_TERM`. The standard deviation is at most sigma: less by 8 % at
        1/2, by 1e-7 at 1, and by nothing that float64 could hold from 2 on.
      size: number of samples, >= 0.
      random_bytes: the source, asked for at most 256 kB at a time; the same bytes give the same samples.

    Returns:
      int64 [size]. Beyond 100 sigma with a chance of 2^-7000: int64 does not overflow.

    Guarantees:
      The distribution is exact if the bytes are uniform and independent: no float is involved, nothing is cut off.

    | sigma                            | result                |
    |----------------------------------|-----------------------|
    | tiny, as 1/1000                  | zeros, all but always |
    | zero, negative, or beyond bounds | raises                |

    Raises:
      ValueError: an argument out of its bound.

    Source: Canonne, Kamath, Steinke 2020, arXiv 2004.00010, algorithms 1 to 3.

    """
    if not 0 < sigma.numerator <= MAX_TERM or sigma.denominator > MAX_TERM:
        raise ValueError(f"sigma must be a positive fraction of integers up to {MAX_TERM}, got {sigma}")
    if size < 0:
        raise ValueError(f"size must be >= 0, got {size}")
    samples = np.empty(size, np.int64)
    filled = 0
    while filled < size:
        proposals = min(_CHUNK, 4 * (size - filled) + 64)  # of which a third to a half are accepted
        accepted = _propose(sigma, proposals, random_bytes)[: size - filled]
        samples[filled : filled + accepted.size] = accepted
        filled += accepted.size
    return samples


def _propose(sigma: Fraction, proposals: int, random_bytes: RandomBytes) -> IntegerArray:
    """Algorithm 3: Laplace samples y, each kept with probability exp(-(abs(y) - sigma)^2 / (2 sigma^2))."""
    laplace = _discrete_laplace(sigma, proposals, random_bytes)
    divisor = sigma.numerator
    quotient, rest = np.divmod(np.abs(laplace) * sigma.denominator - divisor, divisor)
    whole, threshold, numerator = _half_square(quotient, rest, divisor)
    kept = _bernoulli_exp(threshold, numerator, 2 * divisor * divisor, random_bytes)
    far = np.flatnonzero(kept & (whole > 0))
    kept[far] = _geometric(far.size, random_bytes) >= whole[far]  # with probability exp(-whole)
    return laplace[kept]


def _half_square(quotient: IntegerArray, rest: IntegerArray, divisor: int) -> tuple[IntegerArray, ...]:
    """(k + m / a)^2 / 2 for k = `quotient` >= -1, 0 <= m = `rest` < a = `divisor`, exactly.

    Computed as k^2 / 2 + k m / a + m^2 / (2 a^2) = whole + (ones + part / a) / (2 a), where nothing exceeds 2^62.

    Returns:
      The whole number, floor(2^16 fraction), and the fraction's numerator over 2 a^2.

    """
    cross, cross_rest = np.divmod(quotient * rest, divisor)
    square, part = np.divmod(rest * rest, divisor)
    carried, ones = np.divmod(square + 2 * cross_rest + (quotient & 1) * divisor, 2 * divisor)
    whole = (quotient * quotient >> 1) + cross + carried
    threshold = ((ones << _COIN_BITS) + (part << _COIN_BITS) // divisor) // (2 * divisor)
    return whole, threshold, ones * divisor + part


def _discrete_laplace(scale: Fraction, proposals: int, random_bytes: RandomBytes) -> IntegerArray:
    """Algorithm 2: as many samples of P(y) proportional to exp(-abs(y) / scale) as the proposals give."""
    a, b = scale.numerator, scale.denominator
    remainder = _uniform_below(a, proposals, random_bytes)
    remainder = remainder[_bernoulli_exp((remainder << _COIN_BITS) // a, remainder, a, random_bytes)]
    magnitude = (remainder + a * _geometric(remainder.size, random_bytes)) // b
    negative = _random_bits(magnitude.size, random_bytes)
    kept = ~negative | (magnitude > 0)  # or else zero would come twice as often
    return np.where(negative, -magnitude, magnitude)[kept]


def _bernoulli_exp(
    threshold: IntegerArray, numerator: IntegerArray, denominator: int, random_bytes: RandomBytes
) -> BoolArray:
    """Algorithm 1: True with probability exp(-gamma), for 0 <= gamma = `numerator / denominator` <= 1.

    Coins of gamma / 1, gamma / 2, gamma / 3... are tossed until one fails: True if that is the first, the third...

    Args:
      threshold: floor(2^16 gamma), [size].
      numerator: of gamma, [size].
      denominator: of gamma.
      random_bytes: the source.

    """
    result = np.ones(numerator.size, np.bool_)
    alive = np.arange(numerator.size)
    toss = 1
    while alive.size:
        heads = _bernoulli(threshold // toss, numerator, denominator * toss, random_bytes)
        alive, threshold, numerator = alive[heads], threshold[heads], numerator[heads]
        result[alive] ^= True
        toss += 1
    return result


def _geometric(size: int, random_bytes: RandomBytes) -> IntegerArray:
    """How often a coin of probability exp(-1) shows heads before it shows tails: [size]."""
    counts = np.zeros(size, np.int64)
    alive = np.arange(size)
    one = np.ones(size, np.int64)
    while alive.size:
        heads = _bernoulli_exp(one[: alive.size] << _COIN_BITS, one[: alive.size], 1, random_bytes)
        alive = alive[heads]
        counts[alive] += 1
    return counts


def _bernoulli(
    threshold: IntegerArray, numerator: IntegerArray, denominator: int, random_bytes: RandomBytes
) -> BoolArray:
    """True with probability `numerator / denominator`, of which `threshold` is the floor of 2^16 times it: [size]."""
    drawn = np.frombuffer(random_bytes(2 * threshold.size), "<u2")
    heads = drawn < threshold
    for place in np.flatnonzero(drawn == threshold):
        left = (int(numerator[place]) << _COIN_BITS) - int(threshold[place]) * denominator
        heads[place] = _settle(left, denominator, random_bytes)
    return heads


def _settle(numerator: int, denominator: int, random_bytes: RandomBytes) -> bool:
    """True with probability `numerator / denominator` < 1: compares 64 bits after 64 bits until they differ."""
    while numerator:
        digits, numerator = divmod(numerator << 64, denominator)
        drawn = int.from_bytes(random_bytes(8), "little")
        if drawn != digits:
            return drawn < digits
    return False


def _uniform_below(bound: int, draws: int, random_bytes: RandomBytes) -> IntegerArray:
    """Uniform integers in [0, bound), for 1 <= bound <= 2^30: those of `draws` that are below it."""
    excess = 32 - (bound - 1).bit_length()
    drawn = np.frombuffer(random_bytes(4 * draws), "<u4").astype(np.int64) >> excess
    return drawn[drawn < bound]


def _random_bits(size: int, random_bytes: RandomBytes) -> BoolArray:
    """Fair coins: [size]."""
    octets = np.frombuffer(random_bytes((size + 7) // 8), np.uint8)
    return np.unpackbits(octets, count=size).view(np.bool_)
