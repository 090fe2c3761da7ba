"""A device's votes are ones, at most k of them, and add up exactly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clipping import clip_to_norm, l2_norm
from protocol.discovery.candidates import CandidateList, first_candidates
from protocol.discovery.votes import VoteCodec, vote_vector
from protocol.update import decode_update, encode_update

FIRST = first_candidates("abc", 2)
SECOND = CandidateList(letters="abc", step=1, prefixes=("ab", "ca"))
words = st.lists(st.text("abcd", max_size=6), max_size=12)


@given(words, st.integers(1, 9), st.sampled_from([FIRST, SECOND]))
def test_no_votes_are_longer_than_their_bound(typed: list[str], max_words: int, candidates: CandidateList) -> None:
    votes = vote_vector(typed, candidates, max_words=max_words)
    assert l2_norm(votes) <= math.sqrt(max_words)
    assert not clip_to_norm(votes, math.sqrt(max_words)).was_clipped
    voted = {candidates.index_of(word) for word in typed[:max_words]} - {None}
    assert set(np.flatnonzero(votes)) == voted
    assert set(votes) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("typed", "candidates", "expected"),
    [
        (["abc", "abc"], FIRST, {"ab"}),
        (["abc", "abb"], FIRST, {"ab"}),
        (["dab"], FIRST, set()),
        (["abd"], FIRST, {"ab"}),
        (["abd"], SECOND, set()),
        (["a", "cc"], SECOND, set()),
        (["ab"], SECOND, {"ab."}),
        ([""], FIRST, {"."}),
    ],
)
def test_each_row_of_the_table(typed: list[str], candidates: CandidateList, expected: set[str]) -> None:
    chosen = [candidates.candidate(int(index)) for index in np.flatnonzero(vote_vector(typed, candidates, max_words=8))]
    assert {text + "." * is_word for text, is_word in chosen} == expected


def test_a_word_beyond_the_bound_never_takes_the_place_of_one_that_ended() -> None:
    assert not vote_vector(["a", "b", "cab"], SECOND, max_words=2).any()


def test_no_words_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="max_words"):
        vote_vector([], FIRST, max_words=0)


def codec(**changes: int) -> VoteCodec:
    return VoteCodec(**{"value_bits": 10, "max_cohort": 500, "vector_length": FIRST.size, "max_words": 3} | changes)


@given(st.lists(words, min_size=1, max_size=20), st.sampled_from([8, 10, 16, 21, 32]))
def test_sums_of_lanes_are_numbers_of_devices(devices: list[list[str]], value_bits: int) -> None:
    coder = codec(value_bits=value_bits, max_cohort=128)
    votes = [vote_vector(typed, FIRST, max_words=3) for typed in devices]
    lanes = sum(coder.encode(each) for each in votes[1:]) + coder.encode(votes[0])
    above = np.array((7 << value_bits) & 0xFFFFFFFF, np.uint64).astype(lanes.dtype)  # bits that mean nothing
    counted = coder.decode_sum(lanes | above, len(devices))
    assert counted.tolist() == np.sum(votes, axis=0).tolist()
    for each in votes:
        assert int(np.sum(coder.encode(each).astype(np.int64) ** 2)) <= coder.squared_bound
        assert l2_norm(each) <= coder.l2_bound


def test_no_device_counts_for_more_devices_than_there_are() -> None:
    hostile = np.full(FIRST.size, 1000, np.dtype("<u2"))
    assert codec().decode_sum(hostile, 7).max() == 7


@given(st.data(), st.sampled_from([8, 10, 16, 32]), st.integers(1, 128))
def test_one_vote_moves_a_count_by_one_at_most_whatever_the_others_sent(
    data: st.DataObject, value_bits: int, num_reports: int
) -> None:
    """Also where it makes the sum start anew: a hostile device must not make another's vote count for many."""
    coder = codec(value_bits=value_bits, max_cohort=128)
    near_wrap = st.integers(-3, 3).map(lambda step: step % (1 << value_bits))
    sent = data.draw(st.lists(near_wrap | st.integers(0, (1 << value_bits) - 1), min_size=13, max_size=13))
    others = np.array(sent, np.uint64).astype(f"<u{1 if value_bits == 8 else 2 if value_bits <= 16 else 4}")
    votes = coder.encode(vote_vector(["ab", "c", "bcb"], FIRST, max_words=3))
    without, with_votes = (coder.decode_sum(lanes, num_reports) for lanes in (others, others + votes))
    assert (np.abs(with_votes - without) <= votes).all()


def test_plain_uploads_of_votes_are_as_exact() -> None:
    votes = vote_vector(["ab", "c", "bcb"], FIRST, max_words=3)
    assert (decode_update(encode_update(votes), FIRST.size) == votes).all()
    as_int16 = decode_update(encode_update(votes, "int16"), FIRST.size, "int16")
    assert np.abs(as_int16 - votes).max() <= 2.0**-23
    assert l2_norm(as_int16) <= l2_norm(votes)


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (np.zeros(3, np.float32), "13 candidates"),
        (np.full(13, 0.5, np.float32), "0 or 1"),
        (np.full(13, np.nan, np.float32), "0 or 1"),
        (np.ones(13, np.float32), "at most 3 votes, got 13"),
    ],
)
def test_what_is_no_vote_is_not_encoded(votes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec().encode(votes)


@pytest.mark.parametrize(
    "change",
    [{"value_bits": 7}, {"max_cohort": (1 << 9) + 1}, {"max_cohort": 0}, {"vector_length": 0}, {"max_words": 0}],
)
def test_a_codec_out_of_bounds_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        codec(**change)


@pytest.mark.parametrize(
    ("lanes", "num_reports"),
    [
        (np.zeros(13, "<u4"), 5),
        (np.zeros(12, "<u2"), 5),
        (np.zeros(13, "<u2"), 0),
        (np.zeros(13, "<u2"), 501),
    ],
)
def test_a_sum_that_does_not_fit_is_refused(lanes: np.ndarray, num_reports: int) -> None:
    with pytest.raises(ValueError, match="must"):
        codec().decode_sum(lanes, num_reports)
