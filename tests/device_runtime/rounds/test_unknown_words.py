"""Unknown words are counted by message, without what must not be named; the choice among them is bounded and stable."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.rounds.unknown_words import choose_words, count_unknown, unknown_words
from device_runtime.suggestions.blocked import BlockList
from device_runtime.typing_log import TypingLog
from device_runtime.typing_log.scrub import scrub
from protocol.discovery.parameters import DiscoveryParameters
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

KNOWN = {"see": 3.0, "you": 2.0, "at": 1.0}
VOCABULARY = Vocabulary(train_vocabulary(KNOWN, NUM_SPECIAL + 6 + len(KNOWN)))
SEED = bytes(32)


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        ("See you at Zorbo!", {"zorbo"}),
        ("zorbo zorbo ZORBO", {"zorbo"}),
        ("o\u2019zorbo, \uff3aorbo", {"o'zorbo", "zorbo"}),
        ("h264 2nd 12 zorbo3 \u0663zorbo", set()),
        ("x" * 49, set()),
        ("zorbo@example.org see www.zorbo.org/blip 030 1234567 a12345b", set()),
        ("damn zorbo", {"zorbo"}),
        ("", set()),
    ],
)
def test_each_row_of_the_table(message: str, counted: set[str]) -> None:
    found = count_unknown([scrub(message)], VOCABULARY, blocked=BlockList(["damn"]))
    assert dict(found) == dict.fromkeys(counted, 1)


def test_messages_are_counted_not_repetitions() -> None:
    assert count_unknown(["zorbo zorbo", "a zorbo", "you"], VOCABULARY) == {"zorbo": 2, "a": 1}


def test_the_log_is_asked_only_with_consent_and_for_its_newest_words(tmp_path: Path) -> None:
    with TypingLog(tmp_path / "log.sqlite") as log:
        log.consent = True
        log.append("see zorbo", "chat")
        log.append("see blip", "chat")
        assert unknown_words(log, VOCABULARY, max_words=100) == {"zorbo": 1, "blip": 1}
        assert unknown_words(log, VOCABULARY, max_words=2) == {"blip": 1}
        assert unknown_words(log, VOCABULARY, max_words=100, blocked=BlockList(["blip"])) == {"zorbo": 1}
        log.consent = False
        assert not unknown_words(log, VOCABULARY, max_words=100)


counts = st.dictionaries(st.text("abz'\u00e9", max_size=7), st.integers(1, 4), max_size=12)
PARAMETERS = DiscoveryParameters(letters="'abz", steps=(2, 2, 2), max_words=3, min_messages=2)


@given(counts, st.binary(min_size=1, max_size=64))
def test_the_choice_is_what_can_be_found_those_typed_most_first(typed: dict[str, int], seed: bytes) -> None:
    chosen = choose_words(typed, PARAMETERS, seed)
    able = [word for word in typed if typed[word] >= 2 and len(word) <= 5 and "\u00e9" not in word]
    assert len(chosen) == len(set(chosen)) == min(3, len(able))
    assert set(chosen) <= set(able)
    left_out = [typed[word] for word in able if word not in chosen]
    assert min((typed[word] for word in chosen), default=0) >= max(left_out, default=0)
    assert chosen == choose_words(dict(reversed(typed.items())), PARAMETERS, seed)


def test_devices_leave_out_different_words() -> None:
    typed = {first + second: 2 for first in "abz" for second in "abz"}
    choices = {choose_words(typed, PARAMETERS, bytes([number]) * 16) for number in range(20)}
    assert len(set().union(*choices)) == len(typed)


def test_words_that_stay_ahead_are_chosen_again_as_the_log_grows() -> None:
    typed = {"ab": 5, "zab": 5, "ba": 4}
    assert choose_words(typed, PARAMETERS, SEED) == choose_words({**typed, "aa": 2, "zz": 3}, PARAMETERS, SEED)
