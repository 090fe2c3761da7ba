"""What survives a level, and that what one device alone has does not: the bound by its formula and by trying."""

import math
import random
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.discovery.advancing import Level, advance, survival_threshold
from protocol.discovery.candidates import CandidateList, first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.discovery.votes import vote_vector
from protocol.errors import NonFiniteUpdate

SMALL = DiscoveryParameters(letters="abc", steps=(2, 1, 1, 1), max_words=2, max_prefixes=9, chance=0.25)


@given(st.floats(0, 1e4), st.floats(1e-12, 0.9), st.integers(1, 50))
def test_the_chance_of_gaussian_noise_is_bounded(sigma: float, chance: float, hidden: int) -> None:
    parameters = DiscoveryParameters(chance=chance, hidden_devices=hidden)
    threshold = survival_threshold(sigma, parameters)
    assert threshold > hidden
    if sigma > 0.01:
        tail = NormalDist().cdf((hidden - threshold) / sigma)
        assert sum(parameters.candidates_by_level) * tail <= chance


def test_without_noise_two_devices_are_enough_and_one_is_not() -> None:
    assert 1 < survival_threshold(0.0, DiscoveryParameters()) < 1.001


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_noise_that_is_no_number_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="noise_deviation"):
        survival_threshold(sigma, DiscoveryParameters())


def discover(devices: list[list[str]], sigma: float, threshold: float, seed: int) -> tuple[set[str], set[str]]:
    """A whole discovery with Gaussian noise: all that came out, words and prefixes."""
    generator = np.random.default_rng(seed)
    candidates: CandidateList | None = first_candidates(SMALL.letters, SMALL.steps[0])
    words: set[str] = set()
    prefixes: set[str] = set()
    for next_step in (*SMALL.steps[1:], None):
        assert candidates is not None
        counts = np.sum([vote_vector(typed, candidates, max_words=2) for typed in devices], axis=0, dtype=np.float64)
        noised = counts + generator.normal(0, sigma, counts.size)
        level = advance(noised, candidates, threshold, next_step=next_step, max_prefixes=SMALL.max_prefixes)
        words |= {found.word for found in level.words}
        candidates = level.candidates
        if candidates is None:
            break
        prefixes |= set(candidates.prefixes)
    return words, prefixes


def test_by_trying_what_one_device_has_comes_out_as_seldom_as_promised() -> None:
    sigma, runs = 3.0, 400
    devices = [["abab"]] * 60 + [["abca", "cc"], ["bcbc", "a"]]
    shared = {"ab", "aba", "abab"}
    threshold = survival_threshold(sigma, SMALL)
    results = [discover(devices, sigma, threshold, seed) for seed in range(runs)]
    broken = sum(bool((words | prefixes) - shared) for words, prefixes in results)
    assert broken <= SMALL.chance * runs
    assert all("abab" in words for words, _ in results)  # and what many have does come out
    lower = sum(bool(set.union(*discover(devices, sigma, threshold / 2, seed)) - shared) for seed in range(50))
    assert lower > SMALL.chance * 50  # half of the threshold would not do


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(-2, 9))
def test_survivors_are_those_that_reached_the_threshold(seed: int, max_prefixes: int, threshold: float) -> None:
    candidates = CandidateList(letters="abc", step=2, prefixes=("ab", "ca"))
    counts = np.random.default_rng(seed).normal(3, 3, candidates.size)
    level = advance(counts, candidates, threshold, next_step=1, max_prefixes=max_prefixes)
    reached = [(candidates.candidate(index), count) for index, count in enumerate(counts) if count >= threshold]
    words = {each.text: count for each, count in reached if each.is_word}
    assert dict(level.words) == words
    assert [count for _, count in level.words] == sorted(words.values(), reverse=True)
    going_on = sorted(((count, each.text) for each, count in reached if not each.is_word), reverse=True)
    kept = () if level.candidates is None else level.candidates.prefixes
    assert set(kept) == {text for _, text in going_on[:max_prefixes]}


def test_nothing_goes_on_after_the_last_level_or_from_nothing() -> None:
    candidates = first_candidates("ab", 1)
    everything = np.full(candidates.size, 9.0)
    assert advance(everything, candidates, 1.0, next_step=None, max_prefixes=5).candidates is None
    assert advance(0 * everything, candidates, 1.0, next_step=1, max_prefixes=5) == Level((), None)


def test_a_level_never_outgrows_its_bound() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    candidates = first_candidates(letters, 2)
    counts = np.array([random.Random(7).random() + 5 for _ in range(candidates.size)])
    level = advance(counts, candidates, 5.0, next_step=4, max_prefixes=2_000)
    assert level.candidates is not None
    assert len(level.candidates.prefixes) == 2


def test_counts_that_do_not_fit_are_refused() -> None:
    candidates = first_candidates("ab", 1)
    with pytest.raises(ValueError, match="3 candidates"):
        advance(np.zeros(4), candidates, 1.0, next_step=1, max_prefixes=5)
    with pytest.raises(NonFiniteUpdate):
        advance(np.array([1.0, np.nan, 0.0]), candidates, 1.0, next_step=1, max_prefixes=5)
    with pytest.raises(ValueError, match="max_prefixes"):
        advance(np.zeros(3), candidates, 1.0, next_step=1, max_prefixes=0)
