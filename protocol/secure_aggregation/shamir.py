"""Shamir's secret sharing of 32-byte secrets: `threshold` shares give the secret, fewer say nothing about it.

The field is the integers modulo 2^256 + 297, the smallest prime above all 32-byte secrets. Its arithmetic is that of
Python's integers, which does not run in constant time: it must not run where others can time single operations.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from protocol.secure_aggregation.errors import BadShare, TooFewShares

SECRET_BYTES = 32
SHARE_BYTES = 33
PRIME = 2**256 + 297

_WIDE_BYTES = 49  # random bytes per coefficient: 128 bits and more beyond the prime, as RFC 9380, section 5.1
_CACHED_SETS = 256  # of points; at a threshold of 300 some 8 MB


def split(secret: bytes, threshold: int, points: Sequence[int], random_bytes: Callable[[int], bytes]) -> list[bytes]:
    """Device: one share of `secret` for each of `points`, in their order.

    Args:
      secret: 32 bytes.
      threshold: t, 1 to `len(points)`.
      points: distinct integers, 1 to `PRIME` - 1; member i's is i + 1.
      random_bytes: such as `secrets.token_bytes`; asked for 49 (t - 1).

    Returns:
      Shares of 33 bytes, big-endian.

    Guarantees:
      any t of the shares give the secret. Any t - 1 are within a statistical distance of t 2^-136 of uniform, whatever
      the secret: the coefficients are 392 random bits modulo the prime.

    Raises:
      ValueError: a secret, threshold or point out of its bounds, or too few random bytes.

    Source: Shamir 1979, "How to share a secret", doi 10.1145/359168.359176.

    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret must be {SECRET_BYTES} bytes, got {len(secret)}")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"threshold must be 1 to the number of points {len(points)}, got {threshold}")
    if len(set(points)) != len(points):
        raise ValueError(f"points must be distinct, got {len(points)} of which {len(set(points))} are")
    for point in points:
        _require_point_of_field(point)
    coefficients = _random_coefficients(threshold - 1, random_bytes)
    coefficients.append(int.from_bytes(secret, "big"))  # last, where x has the power zero
    return [_value_at(point, coefficients).to_bytes(SHARE_BYTES, "big") for point in points]


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Service: the 32-byte secret of `shares`, which stand under their points.

    Args:
      shares: hostile, 33 bytes each, at points that the caller knows. Of more than `threshold`, those of the smallest
        points are read.
      threshold: t >= 1, as the secret was split.

    Guarantees:
      the secret, if the shares that are read are as they were split. A wrong share gives a secret that nobody can
      foresee, not always an error: the caller holds the result against a public key or a commitment of its owner.

    Raises:
      TooFewShares: fewer than `threshold`.
      BadShare: a share that is truncated or outside the field, or shares that are not of one 32-byte secret.
      ValueError: a threshold or point out of its bounds.

    """
    if threshold < 1:
        raise ValueError(f"threshold must be >= 1, got {threshold}")
    if len(shares) < threshold:
        raise TooFewShares(f"shares of a secret must be at least the threshold {threshold}, got {len(shares)}")
    points = tuple(sorted(shares)[:threshold])
    values = [_read_share(shares[point], point) for point in points]
    weights = _weights_at_zero(points)
    secret = sum(value * weight for value, weight in zip(values, weights, strict=True)) % PRIME
    if secret >= 1 << 8 * SECRET_BYTES:
        raise BadShare("shares must be of one 32-byte secret, got a longer one")
    return secret.to_bytes(SECRET_BYTES, "big")


def _random_coefficients(count: int, random_bytes: Callable[[int], bytes]) -> list[int]:
    drawn = random_bytes(_WIDE_BYTES * count)
    if len(drawn) != _WIDE_BYTES * count:  # fewer would leave the secret in the open
        raise ValueError(f"random_bytes must give {_WIDE_BYTES * count} bytes, got {len(drawn)}")
    starts = range(0, len(drawn), _WIDE_BYTES)
    return [int.from_bytes(drawn[start : start + _WIDE_BYTES], "big") % PRIME for start in starts]


def _value_at(point: int, coefficients: Sequence[int]) -> int:
    """The polynomial's value, by Horner's rule from its highest power down."""
    value = 0
    for coefficient in coefficients:
        value = (value * point + coefficient) % PRIME
    return value


def _read_share(share: bytes, point: int) -> int:
    if len(share) != SHARE_BYTES:
        raise BadShare(f"share at point {point} must be {SHARE_BYTES} bytes, got {len(share)}")
    value = int.from_bytes(share, "big")
    if value >= PRIME:
        raise BadShare(f"share at point {point} must be less than 2^256 + 297")
    return value


@lru_cache(maxsize=_CACHED_SETS)
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's coefficients at zero: of each point x_i, the product of x_j / (x_j - x_i) over the others x_j."""
    for point in points:
        _require_point_of_field(point)
    numerator = math.prod(points)
    denominators = [x_i * math.prod([x_j - x_i for x_j in points if x_j != x_i]) % PRIME for x_i in points]
    return tuple(numerator * inverse % PRIME for inverse in _inverses(denominators))


def _inverses(values: Sequence[int]) -> list[int]:
    """The inverse of each value, none of them zero, for the price of one (Montgomery's trick).

    The product of the first values is carried up; its inverse, from which each value is taken off, down again.
    """
    products = [1]
    for value in values:
        products.append(products[-1] * value % PRIME)
    inverse = pow(products.pop(), -1, PRIME)
    inverses = []
    for value, product in zip(reversed(values), reversed(products), strict=True):
        inverses.append(inverse * product % PRIME)
        inverse = inverse * value % PRIME
    return inverses[::-1]


def _require_point_of_field(point: int) -> None:
    if not 1 <= point < PRIME:
        raise ValueError(f"point of a share must be 1 to 2^256 + 296, got {point}")
