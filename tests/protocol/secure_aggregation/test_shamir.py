"""Enough shares give the secret, fewer give nothing; vectors of both sides, and arithmetic that a reader can redo."""

import contextlib
import json
import random
import secrets
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.secure_aggregation import errors, shamir
from protocol.secure_aggregation.errors import BadShare, TooFewShares
from protocol.secure_aggregation.shamir import PRIME, SHARE_BYTES, combine, split

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "primitives.json").read_text(encoding="utf-8"))["shamir"]
SECRETS = st.binary(min_size=32, max_size=32)
POINTS = st.lists(st.integers(1, 2000), min_size=1, max_size=12, unique=True)
WIDE_BYTES = 49


def shares_of(vector: dict[str, Any]) -> dict[int, bytes]:
    return {int(point): bytes.fromhex(share) for point, share in vector["shares"].items()}


def value_at(point: int, secret: bytes, drawn: bytes) -> int:
    """The polynomial as it is written on paper: highest power first, powers by Python's own pow."""
    coefficients = [int.from_bytes(drawn[i : i + WIDE_BYTES], "big") for i in range(0, len(drawn), WIDE_BYTES)]
    powers = range(len(coefficients), 0, -1)
    terms = [c * pow(point, power, PRIME) for c, power in zip(coefficients, powers, strict=True)]
    return (sum(terms) + int.from_bytes(secret, "big")) % PRIME


def interpolated_at_zero(values: dict[int, int]) -> int:
    """Lagrange's formula in rational numbers, brought into the field at the end."""
    total = Fraction(0)
    for x_i, value in values.items():
        term = Fraction(value)
        for x_j in values:
            if x_j != x_i:
                term *= Fraction(x_j, x_j - x_i)
        total += term
    return total.numerator * pow(total.denominator, -1, PRIME) % PRIME


def is_probably_prime(number: int) -> bool:
    """Miller and Rabin's test to the first 40 primes: wrong for one number in 4^40 at most, and never on a prime."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    primes = [p for p in range(2, 174) if all(p % q for q in range(2, p))]
    if any(number % p == 0 for p in primes):
        return number in primes
    for base in primes:
        power = pow(base, odd, number)
        witnesses = [power] + [power := power * power % number for _ in range(twos - 1)]
        if witnesses[0] != 1 and number - 1 not in witnesses:
            return False
    return True


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_vectors_of_secrets_shared_and_put_together(vector: dict[str, Any]) -> None:
    secret, threshold, shares = bytes.fromhex(vector["secret"]), vector["threshold"], shares_of(vector)
    drawn = bytes.fromhex(vector["random"])
    given_out = split(secret, threshold, list(shares), lambda size: drawn if size == len(drawn) else b"")
    assert dict(zip(shares, given_out, strict=True)) == shares
    for survivors in combinations(shares, threshold):
        assert combine({point: shares[point] for point in survivors}, threshold) == secret


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_vectors_of_shares_that_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, vector["raises"])):
        combine(shares_of(vector), vector["threshold"])


def test_the_field_is_the_smallest_prime_above_all_secrets() -> None:
    assert is_probably_prime(PRIME)
    assert not any(is_probably_prime(number) for number in range(2**256, PRIME))
    assert PRIME < 256**SHARE_BYTES


@given(SECRETS, POINTS, st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, points: list[int], data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, len(points)))
    shares = dict(zip(points, split(secret, threshold, points, secrets.token_bytes), strict=True))
    survivors = data.draw(st.permutations(points))[: data.draw(st.integers(threshold, len(points)))]
    assert combine({point: shares[point] for point in survivors}, threshold) == secret


@given(SECRETS, POINTS, st.randoms(use_true_random=False))
def test_both_directions_agree_with_the_formulas_on_paper(secret: bytes, points: list[int], rng: random.Random) -> None:
    threshold = rng.randint(1, len(points))
    drawn = rng.randbytes(WIDE_BYTES * (threshold - 1))
    shares = split(secret, threshold, points, lambda _: drawn)
    values = {point: int.from_bytes(share, "big") for point, share in zip(points, shares, strict=True)}
    assert values == {point: value_at(point, secret, drawn) for point in points}
    chosen = dict(rng.sample(list(values.items()), threshold))
    assert interpolated_at_zero(chosen) == int.from_bytes(secret, "big")
    assert combine({point: value.to_bytes(33, "big") for point, value in chosen.items()}, threshold) == secret


@pytest.fixture
def field_of_eleven(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A field so small that every polynomial can be tried."""
    monkeypatch.setattr(shamir, "PRIME", 11)
    shamir._weights_at_zero.cache_clear()
    yield
    shamir._weights_at_zero.cache_clear()


def shared_in_every_way(points: list[int]) -> Iterator[tuple[int, list[bytes]]]:
    """Each secret of the field of eleven with its shares under each polynomial of degree two."""
    for secret, first, second in product(range(11), repeat=3):
        drawn = first.to_bytes(WIDE_BYTES, "big") + second.to_bytes(WIDE_BYTES, "big")
        yield secret, split(secret.to_bytes(32, "big"), 3, points, lambda _, drawn=drawn: drawn)  # type: ignore[misc]


@pytest.mark.usefixtures("field_of_eleven")
def test_fewer_shares_fit_every_secret_equally_often() -> None:
    seen: dict[tuple[int, bytes, int, bytes], list[int]] = {}
    for secret, shares in shared_in_every_way([2, 5, 7]):
        for i, j in combinations(range(3), 2):
            seen.setdefault((i, shares[i], j, shares[j]), []).append(secret)
    assert len(seen) == 3 * 11 * 11
    assert all(sorted(fitting) == list(range(11)) for fitting in seen.values())


@pytest.mark.usefixtures("field_of_eleven")
def test_three_shares_of_every_polynomial_give_its_secret() -> None:
    for secret, shares in shared_in_every_way([1, 4, 6, 10]):
        for survivors in combinations(zip([1, 4, 6, 10], shares, strict=True), 3):
            assert combine(dict(survivors), 3) == secret.to_bytes(32, "big")


def test_the_shares_of_the_smallest_points_count() -> None:
    secret, points = secrets.token_bytes(32), [10, 4, 7, 1, 9]
    shares = dict(zip(points, split(secret, 3, points, secrets.token_bytes), strict=True))
    assert combine(shares | {9: b"", 10: b""}, 3) == secret


@given(st.integers(0, 2), st.integers(1, PRIME - 1))
def test_a_wrong_share_never_gives_the_secret(which: int, added: int) -> None:
    secret, points = bytes(range(32)), [3, 5, 8]
    shares = split(secret, 3, points, secrets.token_bytes)
    shares[which] = ((int.from_bytes(shares[which], "big") + added) % PRIME).to_bytes(SHARE_BYTES, "big")
    with contextlib.suppress(BadShare):  # longer than a secret: once in 2^247
        assert combine(dict(zip(points, shares, strict=True)), 3) != secret


def test_the_same_secret_is_never_shared_alike() -> None:
    assert split(bytes(32), 2, [1, 2], secrets.token_bytes) != split(bytes(32), 2, [1, 2], secrets.token_bytes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"secret": bytes(31)}, "secret must be 32 bytes, got 31"),
        ({"threshold": 0}, "threshold must be 1 to the number of points 3, got 0"),
        ({"threshold": 4}, "threshold must be 1 to the number of points 3, got 4"),
        ({"points": [1, 2, 2]}, "points must be distinct, got 3 of which 2 are"),
        ({"points": [0, 1, 2]}, "point of a share must be 1 to"),
        ({"points": [1, 2, PRIME]}, "point of a share must be 1 to"),
        ({"random_bytes": lambda _: bytes(48)}, "random_bytes must give 49 bytes, got 48"),
    ],
)
def test_what_cannot_be_split(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "secret": bytes(32),
        "threshold": 2,
        "points": [1, 2, 3],
        "random_bytes": secrets.token_bytes,
    }
    with pytest.raises(ValueError, match=message):
        split(**(arguments | changed))


def test_what_cannot_be_put_together() -> None:
    with pytest.raises(TooFewShares, match="at least the threshold 2, got 1"):
        combine({1: bytes(33)}, 2)
    with pytest.raises(ValueError, match="threshold must be >= 1, got 0"):
        combine({1: bytes(33)}, 0)
    with pytest.raises(ValueError, match="point of a share must be 1 to"):
        combine({0: bytes(33)}, 1)
