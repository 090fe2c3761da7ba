import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.scrub import LINK, MAIL_ADDRESS, NUMBER, scrub
from tokenizer.text import tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to anna.b+c@mail.example.org now", f"write to {MAIL_ADDRESS} now"),
        ("see http://example.org/a?b=c#d ok", f"see {LINK} ok"),
        ("WWW.Example.org", LINK),
        ("on example.com/path today", f"on {LINK} today"),
        ("pin 1234", f"pin {NUMBER}"),
        ("call +49 (30) 1234-567", f"call +{NUMBER}"),
        ("card 4111 1111 1111 1111.", f"card {NUMBER}."),
        ("paid 1,234,567 of it", f"paid {NUMBER} of it"),
        ("on keys.museum/secret today", f"on {LINK} today"),
        ("at 10 or 11:30, room 123", "at 10 or 11:30, room 123"),
        ("no.spaces after a full stop.Here", "no.spaces after a full stop.Here"),
    ],
)
def test_what_identifies_is_replaced(text, expected):
    assert scrub(text) == expected


@given(st.text())
def test_result_is_utf8_and_has_no_long_digit_string(text):
    result = scrub(text)
    result.encode("utf-8")
    digits = "".join(letter if letter.isdecimal() else " " for letter in result).split()
    assert all(len(run) < 4 for run in digits)


@given(st.text())
def test_scrubbing_twice_is_scrubbing_once(text):
    assert scrub(scrub(text)) == scrub(text)


def test_a_placeholder_is_one_word():
    assert [token.is_word for token in tokenize(f"{MAIL_ADDRESS} {LINK} {NUMBER}")] == [True] * 3


def test_lone_surrogates_become_question_marks():
    assert scrub("a\ud800b") == "a?b"


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", ["a.", "1 ", "@", "a@a.", "http://", "x"])
def test_long_text_takes_linear_time(piece):
    scrub(piece * (100_000 // len(piece)))
