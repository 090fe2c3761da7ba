"""A vocabulary grows at its end: old ids, words and scores stay, and SentencePiece itself reads what was appended."""

import math

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.growing import WrongWord, estimated_shares, grow_vocabulary
from tokenizer.text import MAX_WORD_CHARS, OVERLONG_WORD, PUNCTUATION, is_word
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, UNKNOWN_ID, Vocabulary

SHARES = {
    f"w{letter}{other}": 1.0 + place for place, (letter, other) in enumerate(zip("abcdefgh", "hgfedcba", strict=True))
}
OLD = Vocabulary(train_vocabulary(SHARES, NUM_SPECIAL + len(PUNCTUATION) + len(SHARES)))
NEW = {"zorbo": 1e-5, "o'blip": 3e-4, "\u00e6\u00f8\u00e5\u4e2d": 1e-5, "x" * MAX_WORD_CHARS: 1e-6}

new_words = st.dictionaries(
    st.text("xyz'\u00e9\u0436", min_size=1, max_size=MAX_WORD_CHARS).filter(is_word),
    st.floats(1e-9, 0.5),
    max_size=200,
)


@given(new_words, st.text())
def test_every_old_id_stays_and_every_new_word_has_its_own(shares: dict[str, float], text: str) -> None:
    grown = grow_vocabulary(OLD, shares)
    size = len(OLD)
    assert grown.words[:size] == OLD.words
    assert grown.log_probabilities[:size] == OLD.log_probabilities
    assert sorted(grown.words[size:]) == sorted(shares)
    assert [grown.words[grown.id_of(word)] for word in shares] == list(shares)
    assert grown.target_ids == OLD.target_ids | set(range(size, len(grown)))
    pairs = zip(OLD.encode_message(text), grown.encode_message(text), strict=True)
    assert all(after == before or (before == UNKNOWN_ID and after >= size) for before, after in pairs)


def test_new_words_are_ranked_with_their_log_shares() -> None:
    grown = grow_vocabulary(OLD, NEW)
    assert grown.words[len(OLD) :] == ("o'blip", "zorbo", "\u00e6\u00f8\u00e5\u4e2d", "x" * MAX_WORD_CHARS)
    expected = [math.log(NEW[word]) for word in grown.words[len(OLD) :]]
    assert grown.log_probabilities[len(OLD) :] == pytest.approx(expected, rel=1e-6)
    assert grow_vocabulary(OLD, dict(reversed(NEW.items()))).model == grown.model


def test_sentencepiece_finds_the_pieces_and_writes_them_again() -> None:
    grown = grow_vocabulary(OLD, NEW)
    processor = sentencepiece.SentencePieceProcessor(model_proto=grown.model)
    assert processor.encode("zorbo") == [grown.id_of("zorbo")]
    rewritten = Vocabulary(processor.serialized_model_proto())
    assert rewritten.words == grown.words
    assert rewritten.log_probabilities == grown.log_probabilities


def test_growing_again_goes_on_where_it_ended() -> None:
    once = grow_vocabulary(OLD, NEW)
    twice = grow_vocabulary(once, {"later": 1e-3})
    assert twice.words == (*once.words, "later")


def test_no_words_change_nothing() -> None:
    assert grow_vocabulary(OLD, {}).model == OLD.model


@pytest.mark.parametrize(
    ("word", "share"),
    [
        ("wah", 0.1),
        ("Zorbo", 0.1),
        ("two words", 0.1),
        (".", 0.1),
        ("", 0.1),
        ("<unk>", 0.1),
        (OVERLONG_WORD, 0.1),
        ("x" * (MAX_WORD_CHARS + 1), 0.1),
        ("zorbo", 0.0),
        ("zorbo", 1.0),
        ("zorbo", math.nan),
    ],
)
def test_what_cannot_join_is_refused_and_not_repeated(word: str, share: float) -> None:
    with pytest.raises(WrongWord, match="new word 1") as raised:
        grow_vocabulary(OLD, {"blip": 0.1, word: share})
    assert not (word and word.isalpha() and word in str(raised.value))


def test_discovered_words_are_taken_to_be_rare() -> None:
    shares = estimated_shares(OLD, {"zorbo": 40.0, "blip": 10.0})
    rarest = min(OLD.log_probabilities[index] for index in OLD.target_ids)
    assert shares["zorbo"] == pytest.approx(math.exp(rarest))
    assert shares["blip"] == pytest.approx(shares["zorbo"] / 4)
    assert len(grow_vocabulary(OLD, shares)) == len(OLD) + 2
    assert estimated_shares(OLD, {}) == {}
    with pytest.raises(ValueError, match="votes"):
        estimated_shares(OLD, {"zorbo": 0.0})
    with pytest.raises(ValueError, match="must have words"):
        estimated_shares(Vocabulary(train_vocabulary({".": 1.0}, NUM_SPECIAL + len(PUNCTUATION))), {"zorbo": 1.0})
