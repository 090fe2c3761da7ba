"""A vocabulary keeps what it was trained on, looks words up whole, and is the same wherever it was trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.text import PUNCTUATION, tokenize
from tokenizer.training import blend_counts, count_words, train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, START_ID, UNKNOWN_ID, InvalidVocabulary, Vocabulary

SHARES = {
    f"w{letter}{other}": 1.0 + index for index, (letter, other) in enumerate(zip("abcdefgh", "hgfedcba", strict=True))
}
SIZE = NUM_SPECIAL + len(PUNCTUATION) + len(SHARES)
VOCABULARY = Vocabulary(train_vocabulary(SHARES, SIZE))


def test_all_words_and_marks_have_ids_and_come_back():
    assert len(VOCABULARY) == SIZE
    for text in (*SHARES, *PUNCTUATION):
        assert VOCABULARY.words[VOCABULARY.id_of(text)] == text
    assert VOCABULARY.target_ids == {VOCABULARY.id_of(word) for word in SHARES}


def test_frequent_words_come_first_with_their_log_shares():
    import math

    ranked = sorted(SHARES, key=SHARES.get, reverse=True)
    assert [VOCABULARY.id_of(word) for word in ranked] == list(range(NUM_SPECIAL, NUM_SPECIAL + len(SHARES)))
    total = sum(SHARES.values())
    for word, share in SHARES.items():
        got = VOCABULARY.log_probabilities[VOCABULARY.id_of(word)]
        assert got == pytest.approx(math.log(share / total), abs=1e-3)


def test_neighbouring_unknown_words_stay_apart_and_the_marker_is_no_way_in():
    ids = VOCABULARY.encode_message("zz yy wah \u2581wah wah\u2581")
    known = VOCABULARY.id_of("wah")
    assert ids == [START_ID, UNKNOWN_ID, UNKNOWN_ID, known, known, known]


@given(st.text())
def test_every_token_gets_one_id(text):
    ids = VOCABULARY.encode_message(text)
    assert len(ids) == 1 + len(tokenize(text))
    assert all(0 <= index < SIZE for index in ids)


@pytest.mark.parametrize("word", ["<unk>", "<s>", "</s>", "", "x" * 100_000, "WAH"])
def test_what_is_no_word_in_normal_form_is_unknown(word):
    assert VOCABULARY.id_of(word) == UNKNOWN_ID


def test_training_twice_gives_the_same_bytes_and_names_no_folder():
    model = train_vocabulary(SHARES, SIZE)
    assert model == VOCABULARY.model
    assert b"/tmp" not in model


@pytest.mark.parametrize("payload", [b"", b"nonsense", VOCABULARY.model[:100]])
def test_what_is_no_model_is_refused(payload):
    with pytest.raises(InvalidVocabulary):
        Vocabulary(payload)


def test_a_vocabulary_larger_than_its_words_is_refused():
    with pytest.raises(ValueError, match="needs 9 words, got 8"):
        train_vocabulary(SHARES, SIZE + 1)


def test_rare_letters_and_marks_survive_training():
    shares = {**SHARES, "\u00e6\u00f8\u00e5": 1e-9}
    vocabulary = Vocabulary(train_vocabulary(shares, SIZE + 1))
    assert vocabulary.id_of("\u00e6\u00f8\u00e5") != UNKNOWN_ID


def test_counts_are_of_normal_forms():
    assert count_words(["Yes, yes!", "x" * 1000]) == {"yes": 2, ",": 1, "!": 1}


def test_blending_mixes_shares_and_keeps_only_single_words_of_the_public_list():
    public = {"the": 0.3, "two words": 0.1, "0000": 0.1, "The": 0.1}
    mixed = blend_counts(public, {"the": 1, "chat": 3}, public_weight=0.5)
    assert mixed == pytest.approx({"the": 0.5 * 0.4 / 0.6 + 0.5 * 0.25, "chat": 0.5 * 0.75})
    with pytest.raises(ValueError, match="public_weight"):
        blend_counts(public, {}, public_weight=1.5)
