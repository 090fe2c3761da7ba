import math

import msgspec
import pytest

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)

MECHANISMS = [
    Independent(),
    Tree(restart_every=1),
    Tree(restart_every=256),
    BandedToeplitz(coefficients=(1.0,)),
    BandedToeplitz(coefficients=(1.0, 0.5, 0.5, 0.0)),
    BufferedToeplitz(decays=(0.99, 0.0), scales=(0.1, 0.4)),
]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_json_gives_back_the_same(mechanism: Mechanism) -> None:
    text = msgspec.json.encode(mechanism)
    assert msgspec.json.decode(text, type=Mechanism) == mechanism


def test_json_names_the_kind() -> None:
    assert msgspec.json.encode(Tree(restart_every=8)) == b'{"kind":"tree","restart_every":8}'
    assert msgspec.json.encode(Independent()) == b'{"kind":"independent"}'


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"laplace"}',
        "{}",
        '{"kind":"independent","restart_every":8}',
        '{"kind":"tree"}',
        '{"kind":"tree","restart_every":3}',
        '{"kind":"tree","restart_every":8.5}',
        '{"kind":"banded_toeplitz","coefficients":[1,1.5]}',
        '{"kind":"buffered_toeplitz","decays":[1.0],"scales":[0.5]}',
    ],
)
def test_decoding_refuses_what_is_no_mechanism(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Mechanism)


@pytest.mark.parametrize("wrong", [0, -1, -8, 3, 6, 1 << 17])
def test_a_tree_restarts_with_a_power_of_two(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"restart_every must be a power of two between 1 and 65536, got {wrong}"):
        Tree(restart_every=wrong)


@pytest.mark.parametrize(
    ("coefficients", "sentence"),
    [
        ((), "coefficients must be 1 to 1024, got 0"),
        ((1.0,) + 1024 * (0.5,), "coefficients must be 1 to 1024, got 1025"),
        ((0.9, 0.5), "the first of the coefficients must be 1, got 0.9"),
        ((math.nan, 0.5), "the first of the coefficients must be 1, got nan"),
        ((1.0, 1.0), "the second of the coefficients must be < 1, got 1.0"),
        ((1.0, math.nan), "the second of the coefficients must be < 1, got nan"),
        ((1.0, -0.1), "each of the coefficients must be between 0 and that before it, got -0.1"),
        ((1.0, 0.5, 0.6), "each of the coefficients must be between 0 and that before it, got 0.6"),
        ((1.0, 0.5, math.nan), "each of the coefficients must be between 0 and that before it, got nan"),
        ((1.0, math.inf), "the second of the coefficients must be < 1, got inf"),
    ],
)
def test_bands_that_rise_or_are_no_numbers_are_refused(coefficients: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        BandedToeplitz(coefficients=coefficients)


@pytest.mark.parametrize(
    ("decays", "scales", "sentence"),
    [
        ((), (), "decays must be 1 to 16, got 0"),
        (17 * (0.5,), 17 * (0.01,), "decays must be 1 to 16, got 17"),
        ((0.5, 0.4), (0.1,), "scales must be as many as the 2 decays, got 1"),
        ((1.0,), (0.1,), r"each of the decays must be in \[0, 1\), got 1.0"),
        ((-0.1,), (0.1,), r"each of the decays must be in \[0, 1\), got -0.1"),
        ((math.nan,), (0.1,), r"each of the decays must be in \[0, 1\), got nan"),
        ((0.5,), (0.0,), "each of the scales must be > 0, got 0.0"),
        ((0.5,), (-0.2,), "each of the scales must be > 0, got -0.2"),
        ((0.5,), (math.nan,), "each of the scales must be > 0, got nan"),
        ((0.5,), (math.inf,), "scales must add up to less than 1, got inf"),
        ((0.5, 0.4), (0.5, 0.5), "scales must add up to less than 1, got 1.0"),
    ],
)
def test_buffers_that_never_fade_or_are_no_numbers_are_refused(
    decays: tuple[float, ...], scales: tuple[float, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        BufferedToeplitz(decays=decays, scales=scales)
