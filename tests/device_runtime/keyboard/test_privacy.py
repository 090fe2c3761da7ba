import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.keyboard.privacy import NO_STATEMENT, SINGLE_UPDATES, SUMS_ONLY, UNBOUNDED, privacy_line


def line(epsilon):
    return privacy_line(msgspec.json.encode({"epsilon": epsilon, "delta": 1e-6, "unit": "one log", "more": [1]}))


@pytest.mark.parametrize(
    ("epsilon", "start", "number"),
    [
        (0.0, "Strong protection", "0.00"),
        (1.0, "Strong protection", "1.00"),
        (1.01, "Reasonable protection", "1.01"),
        (10.0, "Reasonable protection", "10.00"),
        (10.1, "Too weak to count on", "10.10"),
        (10671.3, "Too weak to count on", "10,671"),
    ],
)
def test_each_tier(epsilon, start, number):
    told = line(epsilon)
    assert told.startswith(start)
    assert f"ε = {number} at δ = 1e-06" in told


@pytest.mark.parametrize(
    "statement",
    [b"", b"{", b"[]", b'{"mechanism": "none"}', b'{"epsilon": -1, "delta": 0, "unit": "x"}', b"\xff",
     b'{"delta": 0, "unit": "x"}', b'{"epsilon": 1, "delta": 2, "unit": "x"}'],
)  # fmt: skip
def test_without_a_readable_epsilon_nothing_is_claimed(statement):
    assert privacy_line(statement) == NO_STATEMENT


def test_no_guarantee_is_said_as_such():
    assert privacy_line(b'{"epsilon": null, "delta": 1e-6, "unit": "x"}') == UNBOUNDED


@pytest.mark.parametrize(("secure", "sentence"), [(b"true", SUMS_ONLY), (b"false", SINGLE_UPDATES)])
def test_a_second_sentence_says_what_the_service_saw(secure, sentence):
    told = privacy_line(b'{"epsilon": 2, "delta": 1e-6, "unit": "x", "secure_aggregation": ' + secure + b"}")
    assert told == f"Reasonable protection of x: ε = 2.00 at δ = 1e-06.{sentence}"


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail(statement):
    assert privacy_line(statement)


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_a_large_epsilon_is_never_praised(epsilon):
    assert ("Too weak" in line(epsilon)) == (epsilon > 10)
    assert not math.isnan(epsilon)
