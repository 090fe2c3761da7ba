"""Both sides number candidates alike, whatever the list; and a list that is not canonical is refused."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.discovery.candidates import (
    MAX_LIST_BYTES,
    Candidate,
    CandidateList,
    decode_candidates,
    encode_candidates,
    first_candidates,
)
from protocol.discovery.parameters import MAX_CANDIDATES, MAX_PREFIXES
from protocol.errors import MalformedMessage

LETTERS = "abc"


@st.composite
def lists(draw: st.DrawFn) -> CandidateList:
    depth = draw(st.integers(0, 3))
    prefixes = draw(st.sets(st.text(LETTERS, min_size=depth, max_size=depth), min_size=1, max_size=6))
    return CandidateList(letters=LETTERS, step=draw(st.integers(1, 3)), prefixes=tuple(sorted(prefixes)))


def spelled_out(candidates: CandidateList) -> list[Candidate]:
    """The oracle: what the module's table says, written down one by one."""
    return [
        Candidate(prefix + "".join(rest), is_word=length < candidates.step)
        for prefix in candidates.prefixes
        for length in range(candidates.step + 1)
        for rest in itertools.product(candidates.letters, repeat=length)
    ]


@given(lists())
def test_candidates_are_numbered_as_written_down(candidates: CandidateList) -> None:
    expected = spelled_out(candidates)
    assert [candidates.candidate(index) for index in range(candidates.size)] == expected
    assert len(set(expected)) == candidates.size


@given(lists(), st.text(LETTERS + "d", max_size=8))
def test_a_word_leads_to_the_one_candidate_that_it_begins_with_or_is(candidates: CandidateList, word: str) -> None:
    fitting = [
        index
        for index, candidate in enumerate(spelled_out(candidates))
        if (word == candidate.text if candidate.is_word else word.startswith(candidate.text))
    ]
    assert candidates.index_of(word) == (fitting[0] if fitting else None)
    assert len(fitting) <= 1


@given(lists())
def test_what_is_encoded_is_decoded(candidates: CandidateList) -> None:
    payload = encode_candidates(candidates)
    assert decode_candidates(payload) == candidates
    assert encode_candidates(decode_candidates(payload)) == payload


def test_the_first_level_has_all_beginnings() -> None:
    candidates = first_candidates("ab", 2)
    assert candidates.size == 7
    assert {candidates.index_of(word) for word in ("", "a", "b", "aa", "abba", "ba", "bbb")} == set(range(7))


@pytest.mark.parametrize("index", [-1, 7])
def test_there_is_no_candidate_beyond_the_last(index: int) -> None:
    with pytest.raises(IndexError, match="0 to 6"):
        first_candidates("ab", 2).candidate(index)


GOOD = {"format_version": 1, "letters": LETTERS, "step": 1, "prefixes": ["ab", "ba"]}
LONG = ["".join(letters) for letters in itertools.product("ab", repeat=11)]


@pytest.mark.parametrize(
    "change",
    [
        {"prefixes": []},
        {"prefixes": ["ab", "ab"]},
        {"prefixes": ["ba", "ab"]},
        {"prefixes": ["ab", "b"]},
        {"prefixes": ["ab", "bd"]},
        {"prefixes": ["ab", "b\n"]},
        {"prefixes": ["a" * 49]},
        {"prefixes": LONG[: MAX_PREFIXES + 1]},
        {"step": 0},
        {"step": 5},
        {"letters": "a"},
        {"letters": "acb"},
        {"letters": "abb"},
        {"letters": "Abc"},
        {"letters": "1abc"},
        {"letters": "abc\u0301"},
        {"letters": "abc\uff41"},
        {"letters": " abc"},
        {"letters": "".join(sorted({chr(0x430 + place) for place in range(32)} | {chr(97 + at) for at in range(26)}
                                   | {chr(0xE0 + at) for at in range(8)}))},
        {"letters": "abcdefghijklmnopqrstuvwxyz", "step": 4, "prefixes": ["ab", "ba", "bb"]},
        {"format_version": 2},
        {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_with_a_list_is_refused_and_not_repeated(change: dict[str, object]) -> None:
    payload = json.dumps(GOOD | change, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(MalformedMessage) as raised:
        decode_candidates(payload)
    assert "ab" not in str(raised.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{" * 1000,
        b"\xff",
        json.dumps(GOOD).encode(),
        json.dumps(dict(reversed(GOOD.items())), separators=(",", ":")).encode(),
        b" " * (MAX_LIST_BYTES + 1),
    ],
    ids=["nothing", "array", "nested", "no text", "spaces", "other order", "too long"],
)
def test_there_is_one_way_to_write_a_list(payload: bytes) -> None:
    assert decode_candidates(json.dumps(GOOD, separators=(",", ":")).encode()).prefixes == ("ab", "ba")
    with pytest.raises(MalformedMessage):
        decode_candidates(payload)


def test_the_longest_list_is_read() -> None:
    candidates = CandidateList(letters="ab", step=4, prefixes=tuple(LONG[:MAX_PREFIXES]))
    assert candidates.size == 31 * MAX_PREFIXES <= MAX_CANDIDATES
    assert decode_candidates(encode_candidates(candidates)) == candidates
