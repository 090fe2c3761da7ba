"""One definition of word: stable under repetition, blind to spaces, never surprised by what people type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.text import MAX_WORD_CHARS, OVERLONG_WORD, PUNCTUATION, ends_sentence, is_word, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("don\u2019t DON'T", ["don't", "don't"]),
        ("'quoted' words'", ["quoted", "words"]),
        ("wait... what?!", ["wait", ".", "what", "?"]),
        ("snake_case and-dashes/slashes", ["snake", "case", "and", "dashes", "slashes"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("\u0130stanbul \u01c5", ["i\u0307stanbul", "d\u017e"]),
        ("\ufb01ne \uff28\uff49", ["fine", "hi"]),
        ("\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 ok", ["ok"]),
        (
            "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
            ["\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd"],
        ),
        ("a\0b", ["a", "b"]),
        ("", []),
        ("\u2581", []),
        ("x" * MAX_WORD_CHARS, ["x" * MAX_WORD_CHARS]),
        ("x" * 100_000, [OVERLONG_WORD]),
    ],
)
def test_words_and_marks(text, expected):
    assert [token.text for token in tokenize(text)] == expected


@given(st.text())
def test_the_normal_form_is_its_own_normal_form(text):
    tokens = tokenize(text)
    for token in tokens:
        if token.text == OVERLONG_WORD:
            continue
        assert is_word(token.text) == token.is_word
        assert (token.text in PUNCTUATION) == (not token.is_word)
    words = [token.text for token in tokens if token.is_word and token.text != OVERLONG_WORD]
    assert [token.text for token in tokenize(" ".join(words))] == words


@given(st.text(), st.text())
def test_a_space_separates(first, second):
    assert tokenize(first + " " + second)[: len(tokenize(first))] == tokenize(first) or first.endswith(
        tuple(PUNCTUATION)
    )


def test_sentences_end_at_marks_that_end_them():
    assert [ends_sentence(token) for token in tokenize("one, two. three? four! five")] == [
        False, False, False, True, False, True, False, True, False,
    ]  # fmt: skip
