"""The ring: regular, symmetric, hard to cut, the same for whoever computes it, and in uniformly random order."""

import hashlib
import hmac
import itertools
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protocol.secure_aggregation import graph

DIGEST = hashlib.sha256(b"a roster").digest()


def ring_sizes() -> st.SearchStrategy[tuple[int, int]]:
    """Members and a degree that their ring can have."""
    return st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.sampled_from(sorted({*range(0, n, 2), n - 1})))
    )


def reached(start: int, adjacent: dict[int, set[int]]) -> set[int]:
    seen, border = {start}, [start]
    while border:
        new = adjacent[border.pop()] - seen
        seen |= new
        border += new
    return seen


@given(digest=st.binary(min_size=32, max_size=32), n=st.integers(1, 300))
def test_the_order_is_a_permutation_and_the_same_again(digest: bytes, n: int) -> None:
    order = graph.ring_order(digest, n)
    assert sorted(order) == list(range(n))
    assert graph.ring_order(digest, n) == order


@given(digest=st.binary(min_size=32, max_size=32), bit=st.integers(0, 255))
def test_one_bit_of_the_roster_changes_the_order(digest: bytes, bit: int) -> None:
    other = (int.from_bytes(digest, "big") ^ 1 << bit).to_bytes(32, "big")
    assert graph.ring_order(digest, 40) != graph.ring_order(other, 40)


def test_the_order_of_one_size_does_not_continue_another() -> None:
    shorter = [member for member in graph.ring_order(DIGEST, 41) if member < 40]
    assert list(graph.ring_order(DIGEST, 40)) != shorter


def test_every_permutation_is_as_likely() -> None:
    rosters = (hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(9_600))
    counts = Counter(graph.ring_order(digest, 4) for digest in rosters)
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_each_place_is_as_likely_for_each_member_of_a_large_group() -> None:
    first = [graph.ring_order(hashlib.sha256(bytes([n % 256, n // 256])).digest(), 100)[0] for n in range(3_000)]
    assert stats.chisquare([first.count(member) for member in range(100)]).pvalue > 1e-4


def test_the_order_is_the_shuffle_of_the_stated_keystream() -> None:
    extracted = hmac.digest(bytes(32), DIGEST, "sha256")  # HKDF (RFC 5869) by hand
    key = hmac.digest(extracted, b"keychorus ring order v1\x01", "sha256")
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * 99))
    members = list(range(100))
    for draw, last in enumerate(range(99, 0, -1)):  # no word of this stream is passed over: a chance of 1e-6
        chosen = int.from_bytes(stream[4 * draw : 4 * draw + 4], "little") % (last + 1)
        members[last], members[chosen] = members[chosen], members[last]
    assert graph.ring_order(DIGEST, 100) == tuple(members)


def test_more_members_than_one_block_of_keystream() -> None:
    assert sorted(graph.ring_order(DIGEST, 5_000)) == list(range(5_000))


@pytest.mark.parametrize(("word", "passed_over"), [(2**32 - 2, False), (2**32 - 1, True)])
def test_words_beyond_the_last_whole_multiple_are_passed_over(word: int, passed_over: bool) -> None:
    drawn = graph._below(3, iter([word, 1]))  # 2^32 - 1 is a multiple of 3
    assert drawn == (1 if passed_over else word % 3)


@given(size=ring_sizes(), digest=st.binary(min_size=32, max_size=32))
def test_the_graph_is_regular_symmetric_and_connected(size: tuple[int, int], digest: bytes) -> None:
    n, degree = size
    order = graph.ring_order(digest, n)
    adjacent = {index: set(graph.neighbours(order, degree, index)) for index in range(n)}
    for index, around in adjacent.items():
        assert len(around) == degree
        assert index not in around
        assert all(index in adjacent[other] for other in around)
    assert degree == 0 or reached(0, adjacent) == set(range(n))


@given(size=ring_sizes())
def test_all_neighbourhoods_at_once_are_each_member_s(size: tuple[int, int]) -> None:
    n, degree = size
    order = graph.ring_order(DIGEST, n)
    assert graph.neighbourhoods(order, degree) == tuple(graph.neighbours(order, degree, index) for index in range(n))
    assert all(list(around) == sorted(around) for around in graph.neighbourhoods(order, degree))


@pytest.mark.parametrize("degree", [2, 4])
def test_fewer_members_than_the_degree_never_cut_the_graph(degree: int) -> None:
    order = graph.ring_order(DIGEST, 10)
    adjacent = {index: set(graph.neighbours(order, degree, index)) for index in range(10)}
    for removed in itertools.combinations(range(10), degree - 1):
        left = set(range(10)) - set(removed)
        assert reached(min(left), {index: adjacent[index] & left for index in left}) == left


def test_neighbours_are_the_nearest_on_the_ring() -> None:
    order = (5, 3, 0, 4, 1, 2)
    assert graph.neighbours(order, 2, 5) == (2, 3)
    assert graph.neighbours(order, 4, 0) == (1, 3, 4, 5)
    assert graph.neighbours(order, 5, 0) == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(("n", "degree"), [(6, 3), (6, 6), (5, 5), (6, -2), (0, 0)])
def test_a_degree_that_no_ring_has_is_refused(n: int, degree: int) -> None:
    with pytest.raises(ValueError, match="degree must be even and below"):
        graph.neighbours(range(n), degree, 0)
    with pytest.raises(ValueError, match="degree must be even and below"):
        graph.neighbourhoods(range(n), degree)


@pytest.mark.parametrize("index", [-1, 6])
def test_who_is_no_member_has_no_neighbours(index: int) -> None:
    with pytest.raises(ValueError, match="index must be 0 to 5"):
        graph.neighbours(range(6), 2, index)


def test_bad_digests_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="roster_digest must be 32 bytes, got 31"):
        graph.ring_order(bytes(31), 5)
    with pytest.raises(ValueError, match="num_members must be 1 to"):
        graph.ring_order(DIGEST, 0)
