import numpy as np
import pytest

from aggregation_service.privacy.grid_noise import finest_grid
from evaluation.discovery.levels import Tally, discover
from evaluation.discovery.settings import DiscoverySettings
from evaluation.discovery.typed import TypedWords
from protocol.discovery.candidates import CandidateList, first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.discovery.votes import vote_vector

PARAMETERS = DiscoveryParameters(letters="abcdehilnoprstuvxz", steps=(2, 2, 2), max_words=4, max_prefixes=50)
SETTINGS = DiscoverySettings(parameters=PARAMETERS)
SEED = bytes(32)


@pytest.mark.parametrize(
    "candidates",
    [
        first_candidates(PARAMETERS.letters, 2),
        CandidateList(letters=PARAMETERS.letters, step=1, prefixes=("bl", "pl", "zo")),
        CandidateList(letters=PARAMETERS.letters, step=2, prefixes=("xx",)),
    ],
    ids=["first", "later", "nobody's"],
)
def test_sums_are_those_of_all_devices_one_by_one(typed: TypedWords, candidates: CandidateList) -> None:
    tally = Tally(typed, SETTINGS)
    expected = sum(vote_vector(words, candidates, max_words=4) for words in typed.chosen)
    for _ in range(2):  # and so are those that are remembered
        assert np.array_equal(tally.sum(candidates), expected)
    tally.sum(first_candidates(PARAMETERS.letters, 2))
    assert np.array_equal(tally.sum(candidates), expected)


def test_with_hardly_any_noise_exactly_what_reaches_the_threshold_comes_out(typed: TypedWords) -> None:
    levels: list[int] = []
    found = discover(
        Tally(typed, SETTINGS),
        PARAMETERS,
        grid=finest_grid(0.001),
        threshold=14.5,
        seed=SEED,
        on_level=lambda: levels.append(1),
    )
    assert {word: round(devices) for word, devices in found.words} == {"zorbo": 200, "plux": 80, "blip": 15}
    assert found.prefixes == (("bl", "pl", "zo"), ("blip", "plux", "zorb"))
    assert len(levels) == 3


def test_noise_is_that_of_the_seed(typed: TypedWords) -> None:
    tally = Tally(typed, SETTINGS)
    options = {"grid": finest_grid(5.0), "threshold": 40.0, "on_level": lambda: None}
    one, again, other = (discover(tally, PARAMETERS, seed=seed, **options) for seed in (SEED, SEED, b"1" * 32))
    assert one == again
    assert one.words != other.words


def test_what_is_not_reached_is_told_as_done(typed: TypedWords) -> None:
    levels: list[int] = []
    found = discover(
        Tally(typed, SETTINGS),
        PARAMETERS,
        grid=finest_grid(0.001),
        threshold=1e6,
        seed=SEED,
        on_level=lambda: levels.append(1),
    )
    assert found.words == ()
    assert found.prefixes == ((),)
    assert len(levels) == 3
