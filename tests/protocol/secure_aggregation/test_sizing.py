"""Degree and threshold: against published values, exact enumeration, scipy's tails, simulation and an attack."""

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components, maximum_flow

from protocol.secure_aggregation import graph, sizing
from protocol.secure_aggregation.errors import WeakParameters

MODES: tuple[sizing.Mode, ...] = ("semi_honest", "semi_malicious", "malicious")
# Adversary fraction, drop-out fraction, members, degree, threshold, as published by authors of Bell et al. 2020:
# google/federated-compute, fcp/secagg/server, the tests of graph_parameter_finder.
SEMI_HONEST = [
    (0.05, 0.05, 100, 12, 6),
    (0.05, 0.05, 1_000, 30, 17),
    (0.05, 0.05, 10_000, 34, 20),
    (0.05, 0.05, 1_000_000, 38, 22),
    (0.05, 0.33, 100, 28, 6),
    (0.05, 0.33, 1_000, 72, 24),
    (0.05, 0.33, 10_000, 86, 29),
    (0.05, 0.33, 1_000_000, 102, 34),
    (0.33, 0.33, 100, 68, 34),
    (0.33, 0.33, 1_000, 286, 150),
    (0.33, 0.33, 10_000, 422, 221),
    (0.33, 0.33, 1_000_000, 518, 270),
    (0.33, 0.05, 100, 34, 29),
    (0.33, 0.05, 1_000_000, 110, 83),
    (0.45, 0.45, 100, 92, 46),
    (0.45, 0.45, 1_000_000, 6_240, 3_156),
]
SEMI_MALICIOUS = [
    (0.05, 0.33, 100, 72, 39),
    (0.05, 0.33, 1_000, 398, 223),
    (0.05, 0.33, 1_000_000, 970, 545),
    (0.3, 0.3, 1_000, 872, 584),
    (0.3, 0.3, 1_000_000, 11_136, 7_454),
    (0.33, 0.05, 100, 42, 37),
    (0.33, 0.05, 10_000, 178, 146),
]


@pytest.mark.parametrize(("adversary", "dropout", "n", "degree", "threshold"), SEMI_HONEST)
def test_published_semi_honest_values(adversary: float, dropout: float, n: int, degree: int, threshold: int) -> None:
    size = sizing.size_group(n, adversary_fraction=adversary, dropout_fraction=dropout)
    assert size == (degree, threshold)


@pytest.mark.parametrize(("adversary", "dropout", "n", "degree", "threshold"), SEMI_MALICIOUS)
def test_published_semi_malicious_values(adversary: float, dropout: float, n: int, degree: int, threshold: int) -> None:
    size = sizing.size_group(n, adversary_fraction=adversary, dropout_fraction=dropout, mode="semi_malicious")
    assert size == (degree, threshold)


@pytest.mark.parametrize(
    ("mode", "adversary", "dropout", "n", "published"),
    [
        ("semi_honest", 0.45, 0.45, 1_000, (822, 417)),
        ("semi_honest", 0.45, 0.45, 10_000, (3_494, 1_771)),
        ("semi_malicious", 0.3, 0.3, 10_000, (4_822, 3_230)),
    ],
)
def test_where_neighbours_are_most_of_the_group_ours_is_a_little_more(
    mode: sizing.Mode, adversary: float, dropout: float, n: int, published: tuple[int, int]
) -> None:
    """The published draw neighbours from n, ours from the n - 1 others: up to 0.3 % more, as the docs say."""
    size = sizing.size_group(n, adversary_fraction=adversary, dropout_fraction=dropout, mode=mode)
    assert all(ours > theirs for ours, theirs in zip(size, published, strict=True))
    assert all(ours <= theirs * 1.003 for ours, theirs in zip(size, published, strict=True))


def test_a_million_members_are_sized_by_search_and_not_one_by_one() -> None:
    sizing._smallest.cache_clear()
    started = time.perf_counter()
    for mode in MODES:
        sizing.size_group(1_000_000, adversary_fraction=0.05, dropout_fraction=0.1, mode=mode)
    assert time.perf_counter() - started < 10  # hours if each size were tried


# --- the bounds -------------------------------------------------------------------------------------------------------


@given(
    population=st.integers(1, 5_000),
    marked=st.floats(0, 1),
    drawn=st.floats(0, 1),
    beyond=st.integers(0, 60),
)
def test_the_tail_is_the_hypergeometric_one(population: int, marked: float, drawn: float, beyond: int) -> None:
    num_marked, num_drawn = round(marked * population), round(drawn * population)
    at_least = num_marked * num_drawn // population + 1 + beyond
    exact = float(stats.hypergeom.sf(at_least - 1, population, num_marked, num_drawn))
    bound = sizing._tail_bound(population, num_marked, num_drawn, at_least)
    assert bound == pytest.approx(exact, rel=1e-5, abs=1e-280)
    assert bound >= exact * (1 - 1e-12)  # scipy rounds as well


def test_up_to_the_mean_the_tail_is_bounded_by_one() -> None:
    assert sizing._tail_bound(100_000, 50_000, 20_000, 10_000) == 1
    assert sizing._tail_bound(100, 5, 99, 0) == 1


def falls_apart(n: int, degree: int, removed: Sequence[int]) -> bool:
    left = [place for place in range(n) if place not in removed]
    around = graph.neighbourhoods(range(n), degree)
    adjacency = np.array([[other in around[place] for other in left] for place in left])
    return bool(connected_components(sparse.csr_matrix(adjacency))[0] > 1) if left else False


@pytest.mark.parametrize(("n", "degree"), [(9, 2), (10, 4), (12, 6), (11, 10), (10, 9)])
@pytest.mark.parametrize("num_removed", [2, 4, 6])
def test_the_chance_of_a_cut_is_bounded(n: int, degree: int, num_removed: int) -> None:
    """Of all ways to remove members, as many fall apart as the bound says, or fewer where one has several pairs."""
    ways = list(itertools.combinations(range(n), num_removed))
    exact = sum(falls_apart(n, degree, removed) for removed in ways) / len(ways)
    bound = 2.0 ** sizing._log2_of_cut(n, degree, num_removed)
    assert exact <= bound
    assert (bound == 0) == (exact == 0)
    if num_removed == degree:  # room for one pair of gaps: the bound is exact
        assert bound == pytest.approx(exact, rel=1e-5)


# --- the search -------------------------------------------------------------------------------------------------------


def plain_search(n: int, corrupt: int, dropped: int, *, sigma: int, eta: int, mode: str) -> tuple[int, int] | None:
    """The same by definition: every degree in turn, every threshold, scipy's tails, shares counted one by one."""
    for degree in sorted({*range(2, n, 2), n - 1}):
        counts = np.arange(degree + 1)
        corrupt_tail = stats.hypergeom.sf(counts, n - 1, min(corrupt, n - 1), degree)
        dropped_tail = stats.hypergeom.sf(counts, n - 1, min(dropped, n - 1), degree)
        most_corrupt = int(np.argmax(corrupt_tail * n <= 2.0 ** -(sigma + 1)))
        most_dropped = int(np.argmax(dropped_tail * n <= 2.0**-eta))
        gaps = n * (n - degree - 1) / 2
        removed = min(n, corrupt + dropped)
        cut = gaps * math.comb(n - degree, removed - degree) / math.comb(n, removed) if degree <= removed else 0.0
        if mode != "malicious" and cut > 2.0 ** -(sigma + 1):
            continue
        for threshold in range(2, degree - most_dropped + 1):
            if holds(mode, n, degree, most_corrupt, threshold):
                return degree, threshold
    return None


def holds(mode: str, n: int, degree: int, corrupt: int, threshold: int) -> bool:
    if mode == "semi_honest":
        return threshold > corrupt
    if 2 * threshold <= degree + corrupt:
        return False
    if mode == "semi_malicious":
        return True
    spare = degree - threshold
    if degree == n - 1:
        return 2 * spare <= threshold - corrupt
    half = degree // 2
    given_inside = half * spare
    given_on_one_side = sum(min(reach, spare) for reach in range(1, half + 1))
    return (half - corrupt) * (threshold - corrupt) > given_inside + 2 * given_on_one_side


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 220),
    percents=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    security_bits=st.sampled_from([(8, 5), (40, 20), (80, 20)]),
    mode=st.sampled_from(MODES),
)
def test_the_search_finds_what_a_plain_one_finds(
    n: int, percents: tuple[int, int], security_bits: tuple[int, int], mode: sizing.Mode
) -> None:
    sigma, eta = security_bits
    demand: dict[str, Any] = {
        "adversary_fraction": percents[0] / 100,
        "dropout_fraction": percents[1] / 100,
        "sigma": sigma,
        "mode": mode,
    }
    corrupt, dropped = (-(-percent * n // 100) for percent in percents)
    expected = plain_search(n, corrupt, dropped, sigma=sigma, eta=eta, mode=mode)
    if expected is None:
        with pytest.raises(sizing.NoSafeGraph):
            sizing.size_group(n, **demand, eta=eta)
        return
    size = sizing.size_group(n, **demand, eta=eta)
    assert size == expected
    sizing.check_is_safe(n, *size, **demand)


def test_fractions_mean_their_decimals() -> None:
    assert sizing._share_of(100, 0.07) == 7  # 0.07 * 100 is 7.000000000000001
    assert sizing._share_of(10, 0.05) == 1
    assert sizing._share_of(10, 0.0) == 0


# --- by simulation ----------------------------------------------------------------------------------------------------


def failures(n: int, size: sizing.GraphSize, corrupt: int, dropped: int, trials: int) -> tuple[float, float]:
    """How often a random ring is not safe, and how often drop-outs make it lose its sum."""
    random = np.random.default_rng(5)
    around = np.array(graph.neighbourhoods(range(n), size.degree))  # [n, degree]
    unsafe = lost = 0
    for _ in range(trials):
        is_corrupt, is_dropped = np.zeros((2, n), dtype=bool)
        is_corrupt[random.choice(n, corrupt, replace=False)] = True
        is_dropped[random.choice(n, dropped, replace=False)] = True
        too_many = (is_corrupt[around].sum(axis=1) >= size.threshold)[~is_corrupt].any()
        unsafe += bool(too_many or falls_apart(n, size.degree, np.flatnonzero(is_corrupt | is_dropped).tolist()))
        lost += bool((~is_dropped[around]).sum(axis=1).min() < size.threshold)
    return unsafe / trials, lost / trials


def test_simulated_rings_fail_as_seldom_as_promised_and_smaller_ones_more_often() -> None:
    size = sizing.size_group(40, adversary_fraction=0.1, dropout_fraction=0.2, sigma=5, eta=5)
    unsafe, lost = failures(40, size, corrupt=4, dropped=8, trials=1_000)
    assert unsafe <= 2**-5
    assert lost <= 2**-5
    weak = sizing.GraphSize(size.degree, size.threshold - 1)
    assert failures(40, weak, corrupt=4, dropped=8, trials=300)[0] > 2**-5
    greedy = sizing.GraphSize(size.degree, size.threshold + 2)
    assert failures(40, greedy, corrupt=4, dropped=8, trials=300)[1] > 2**-5


# --- a service that deviates ------------------------------------------------------------------------------------------


def key_shares_to_be_had(n: int, size: sizing.GraphSize, corrupt: frozenset[int], victim: int) -> bool:
    """Whether a service can have the keys of all honest neighbours of `victim` opened, by maximum flow.

    Each honest member gives at most degree - threshold key shares, one for each neighbour that it is told has dropped.
    """
    around = graph.neighbourhoods(range(n), size.degree)
    targets = [member for member in around[victim] if member not in corrupt]
    source, sink = n, 2 * n + 1  # givers are 0 ... n - 1, targets n + 1 + member
    edges = [(source, giver, size.degree - size.threshold) for giver in range(n) if giver not in corrupt]
    needed = [max(0, size.threshold - len(corrupt.intersection(around[target]))) for target in targets]
    edges += [(n + 1 + target, sink, count) for target, count in zip(targets, needed, strict=True)]
    edges += [(giver, n + 1 + target, 1) for target in targets for giver in around[target] if giver not in corrupt]
    start, end, capacity = np.array(edges, dtype=np.int32).T
    flow = maximum_flow(sparse.csr_matrix((capacity, (start, end)), shape=(2 * n + 2, 2 * n + 2)), source, sink)
    return bool(flow.flow_value == sum(needed))


def worst_corrupt(size: sizing.GraphSize, num_corrupt: int, victim: int) -> frozenset[int]:
    """Corrupt members nearest to the victim, on both sides in turn: fewest keys to open."""
    return frozenset(victim + (1 + place // 2) * (-1) ** place for place in range(num_corrupt))


@pytest.mark.parametrize("num_corrupt", [0, 2, 7])
def test_only_in_malicious_mode_nobody_can_be_cut_off(num_corrupt: int) -> None:
    """128 members, each told another list of survivors by the service, which wants one update alone."""
    cut = {}
    for mode in MODES:
        size = sizing.size_group(128, adversary_fraction=0.05, dropout_fraction=0.1, mode=mode)
        cut[mode] = key_shares_to_be_had(128, size, worst_corrupt(size, num_corrupt, 64), 64)
    assert cut == {"semi_honest": True, "semi_malicious": True, "malicious": False}


@given(half=st.integers(1, 40), data=st.data())
def test_no_gap_can_be_made_counts_shares_on_a_real_ring(half: int, data: st.DataObject) -> None:
    degree = 2 * half
    threshold = data.draw(st.integers(half + 1, degree))
    corrupt = data.draw(st.integers(0, min(half, threshold)))
    around = graph.neighbourhoods(range(4 * degree), degree)
    gap = set(range(degree, degree + half))
    supply = sum(min(len(gap.intersection(near)), degree - threshold) for near in around)
    if sizing._no_gap_can_be_made(degree, corrupt, threshold):
        assert (half - corrupt) * (threshold - corrupt) > supply
        honest_part_called_dropped = (degree - threshold) / (threshold - corrupt)
        assert honest_part_called_dropped < 0.5


@given(n=st.integers(20, 4_000), mode=st.sampled_from(["semi_malicious", "malicious"]))
def test_never_both_secrets_of_a_member(n: int, mode: sizing.Mode) -> None:
    size = sizing.size_group(n, adversary_fraction=0.05, dropout_fraction=0.05, mode=mode)
    group = sizing._Group(n, sizing._share_of(n, 0.05), sizing._share_of(n, 0.05), 40, 20, mode)
    corrupt = sizing._most_among_neighbours(group, group.corrupt, size.degree, bits=41)
    honest = size.degree - corrupt
    assert honest + 2 * corrupt < 2 * size.threshold  # one kind of share from the honest, both from the corrupt


# --- the device's check -----------------------------------------------------------------------------------------------

DEMAND: dict[str, Any] = {"adversary_fraction": 0.05, "dropout_fraction": 0.1}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [10, 64, 100, 128, 1_000])
def test_a_device_accepts_what_is_as_safe_and_refuses_one_share_less(n: int, mode: sizing.Mode) -> None:
    degree, threshold = sizing.size_group(n, **DEMAND, mode=mode)
    sizing.check_is_safe(n, degree, threshold, **DEMAND, mode=mode)
    sizing.check_is_safe(n, degree, degree, **DEMAND, mode=mode)
    with pytest.raises(WeakParameters, match=f"threshold must be >= {threshold}"):
        sizing.check_is_safe(n, degree, threshold - 1, **DEMAND, mode=mode)


@given(
    n=st.integers(2, 300),
    size=st.tuples(st.integers(-3, 320), st.integers(-3, 320)),
    percents=st.lists(st.integers(0, 40), min_size=2, max_size=2),
    mode=st.sampled_from(MODES),
)
def test_what_is_safe_against_more_corrupt_members_is_safe_against_fewer(
    n: int, size: tuple[int, int], percents: list[int], mode: sizing.Mode
) -> None:
    fewer, more = (percent / 100 for percent in sorted(percents))
    try:
        sizing.check_is_safe(n, *size, adversary_fraction=more, dropout_fraction=0.1, mode=mode)
    except WeakParameters:
        return
    sizing.check_is_safe(n, *size, adversary_fraction=fewer, dropout_fraction=0.1, mode=mode)


@pytest.mark.parametrize(
    ("n", "degree", "threshold", "error"),
    [
        (1, 12, 6, "num_members must be 2 to"),
        (-5, 12, 6, "num_members must be 2 to"),
        (100, 17, 9, "degree must be even and below 100, or 99, got 17"),
        (100, 100, 60, "degree must be even and below 100, or 99, got 100"),
        (100, 0, 0, "degree must be even"),
        (100, -2, 0, "degree must be even"),
        (100, 16, 5, "threshold must be >= 6"),
        (100, 16, 17, "threshold must be at most the degree, 16, got 17"),
        (100, 2, 2, "threshold must be >= 3"),
        (1_000, 20, 20, "degree must be large enough to keep 1000 connected, got 20"),
    ],
)
def test_a_device_refuses_weak_graphs(n: int, degree: int, threshold: int, error: str) -> None:
    with pytest.raises(WeakParameters, match=error):
        sizing.check_is_safe(n, degree, threshold, **DEMAND)


@pytest.mark.parametrize(
    "wrong",
    [
        {"adversary_fraction": -0.1},
        {"adversary_fraction": 0.9},
        {"adversary_fraction": math.nan},
        {"dropout_fraction": math.inf},
        {"sigma": 0},
        {"sigma": 257},
        {"mode": "trusting"},
    ],
)
def test_assumptions_out_of_their_bounds_are_refused(wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}.* must be"):
        sizing.size_group(100, **{**DEMAND, **wrong})
    with pytest.raises(ValueError, match=f"{name}.* must be"):
        sizing.check_is_safe(100, 12, 6, **{**DEMAND, **wrong})


@pytest.mark.parametrize("n", [-1, 1, sizing.MAX_MEMBERS + 1])
def test_sizes_out_of_their_bounds_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="num_members must be 2 to 10000000"):
        sizing.size_group(n, **DEMAND)
    with pytest.raises(ValueError, match="eta must be"):
        sizing.size_group(100, **DEMAND, eta=0)


@pytest.mark.parametrize(("n", "adversary", "dropout"), [(2, 0.05, 0.0), (3, 0.05, 0.05), (100, 0.5, 0.49)])
def test_groups_that_no_graph_makes_safe(n: int, adversary: float, dropout: float) -> None:
    with pytest.raises(sizing.NoSafeGraph, match=f"num_members must allow for a safe graph .* got {n}"):
        sizing.size_group(n, adversary_fraction=adversary, dropout_fraction=dropout)


def test_without_corrupt_members_and_drop_outs_a_plain_ring_does() -> None:
    assert sizing.size_group(1_000, adversary_fraction=0, dropout_fraction=0) == (2, 2)
