"""Capitals come back where people write them."""

import pytest

from tokenizer.casing import Casing, learn_casing

TEXT = [
    "we met Anna today",
    "with Anna and NASA",
    "is Anna there",
    "from NASA, or NASA?",
    "at noon At noon. At noon. At noon",
]


def test_names_are_learnt_from_inside_sentences_only():
    spellings = learn_casing(TEXT).spellings
    assert spellings["anna"] == "Anna"
    assert spellings["nasa"] == "NASA"
    assert "at" not in spellings
    assert "we" not in spellings


@pytest.mark.parametrize(
    ("word", "starts", "shown"),
    [
        ("hello", True, "Hello"),
        ("hello", False, "hello"),
        ("i", False, "I"),
        ("nasa", True, "NASA"),
        ("i'm", True, "I'm"),
    ],
)
def test_restoring(word, starts, shown):
    assert learn_casing(TEXT).restore(word, starts_sentence=starts) == shown


def test_the_table_survives_its_file():
    casing = learn_casing(TEXT)
    assert Casing.from_tsv(casing.to_tsv()).spellings == casing.spellings


@pytest.mark.parametrize("payload", [b"one\n", b"a\tb\n", b"a\tA\tA\n", b"\xff\tx\n"])
def test_damaged_tables_are_refused(payload):
    with pytest.raises(ValueError, match=r"row|decode"):
        Casing.from_tsv(payload)
