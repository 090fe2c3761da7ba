"""A discovery's parameters bound what a device sends and what can come out."""

import msgspec
import pytest

from protocol.discovery.parameters import MAX_CANDIDATES, DiscoveryParameters, num_extensions


def test_the_standard_discovery_fits_in_a_model_update() -> None:
    standard = DiscoveryParameters()
    assert standard.max_letters == 11
    assert standard.candidates_by_level == (551_881, *[757_000] * 4)
    assert max(standard.candidates_by_level) <= MAX_CANDIDATES
    assert standard.vote_norm == 4


@pytest.mark.parametrize(("num_letters", "step", "expected"), [(27, 0, 1), (27, 2, 757), (2, 3, 15), (5, -1, 0)])
def test_extensions_are_counted(num_letters: int, step: int, expected: int) -> None:
    assert num_extensions(num_letters, step) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"steps": []},
        {"steps": [0]},
        {"steps": [5]},
        {"steps": [1] * 17},
        {"steps": [4, 3]},
        {"letters": "ba"},
        {"max_words": 0},
        {"min_messages": 0},
        {"max_prefixes": 2_001},
        {"hidden_devices": 0},
        {"chance": 0.0},
        {"chance": 1.0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    assert msgspec.convert({}, DiscoveryParameters) == DiscoveryParameters()
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(change, DiscoveryParameters)
