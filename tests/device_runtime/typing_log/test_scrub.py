import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.typing_log.scrub import LINK, MAIL_ADDRESS, NUMBER, scrub
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
        ("write to anna@intranet, then", f"write to {MAIL_ADDRESS}, then"),
        ("to anna@a@b.@c.", f"to {MAIL_ADDRESS}."),
        ("to anna＠example.org", f"to {MAIL_ADDRESS}"),
        ("to jürgen@müller.example", f"to {MAIL_ADDRESS}"),
        ("on müller.de today", f"on {LINK} today"),
        ("pin ١٢٣٤ and ４５６７", f"pin {NUMBER} and {NUMBER}"),
        ("pin ①②③④ and ¹²³⁴ and 𝟏𝟐𝟑𝟒", f"pin {NUMBER} and {NUMBER} and {NUMBER}"),
        ("pin 1\ufe0f\u20e32\ufe0f\u20e33\ufe0f\u20e34\ufe0f\u20e3", f"pin {NUMBER}\ufe0f\u20e3"),
        ("pin 1\u200b2\u200b3\u200b4", f"pin {NUMBER}"),
        ("card 4111–1111–1111–1111", f"card {NUMBER}"),
        ("card 4111\u00a01111\u00a01111\u00a01111", f"card {NUMBER}"),
        ("born 1.2.1990 or 01/02/90", f"born {NUMBER} or {NUMBER}"),
        ("paid 1'000 or 2\u2019500", f"paid {NUMBER} or {NUMBER}"),
        ("pin 1\u03012\u03013\u03014", f"pin {NUMBER}"),
        ("code a1234b", f"code a{NUMBER}b"),
        ("pin 1\x002\x003\x004", f"pin {NUMBER}"),
    ],
)
def test_what_identifies_is_replaced(text, expected):
    assert scrub(text) == expected


DIGITS = st.sampled_from("0123456789٠٥۹०９①²½𝟙Ⅳ -.()\u200b\ufe0f\u20e3\x00ab@/")


@given(st.text() | st.text(DIGITS))
def test_result_is_utf8_and_has_no_long_digit_string(text):
    result = scrub(text)
    result.encode("utf-8")
    assert unicodedata.is_normalized("NFKC", result)
    digits = "".join(letter if letter.isdecimal() else " " for letter in result).split()
    assert max(map(len, digits), default=0) < 4


@given(st.text() | st.text(DIGITS))
def test_what_the_tokenizer_sees_has_no_longer_number_either(text):
    longest = max((sum(letter.isdecimal() for letter in token.text) for token in tokenize(scrub(text))), default=0)
    letters = sum(letter.isalnum() and not letter.isdecimal() for letter in unicodedata.normalize("NFKC", text))
    assert longest < 4 + 3 * letters  # three digits, a letter, three digits are one token and no number


@given(st.text(max_size=200) | st.text(DIGITS, max_size=200))
def test_no_at_sign_is_left_within_a_word(text):
    assert re.search(r"\w@\w", scrub(text)) is None


def test_a_placeholder_is_one_word():
    assert [token.is_word for token in tokenize(f"{MAIL_ADDRESS} {LINK} {NUMBER}")] == [True] * 3


def test_lone_surrogates_become_question_marks():
    assert scrub("a\ud800b") == "a?b"


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "piece",
    ["a.", "1 ", "@", "a@a.", "http://", "x", "\u200b", "1\u200b", "1.-", "-a.", "@.", "a" * 64 + "@" + "." * 254],
)
def test_long_text_takes_linear_time(piece):
    scrub(piece * (100_000 // len(piece)))
