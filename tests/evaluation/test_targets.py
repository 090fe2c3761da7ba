import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation.targets import SuggestionIndex, is_known, is_target, type_messages
from tokenizer.text import OVERLONG_WORD, PUNCTUATION, tokenize
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

WORDS = ["a", "an", "and", "don't", "zoo"]
VOCABULARY = Vocabulary(train_vocabulary(dict.fromkeys(WORDS, 1.0), NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)))


@given(st.lists(st.text(max_size=30), max_size=5))
def test_messages_are_the_vocabularys_with_letters_beside(texts: list[str]) -> None:
    kept = [text for text in texts if any(token.is_word for token in tokenize(text))]
    typed = type_messages(texts, VOCABULARY)
    assert [message.ids for message in typed] == [VOCABULARY.encode_message(text) for text in kept]
    for message, text in zip(typed, kept, strict=True):
        words = [token.text for token in tokenize(text) if token.is_word]
        assert [chars for chars in message.word_chars if chars] == [len(word) for word in words]
        assert is_target(message).sum() == len(words)
        known = [word for word in words if word in WORDS]
        assert is_known(message).sum() == len(known)


def test_an_overlong_word_is_an_unknown_target() -> None:
    (message,) = type_messages(["x" * 500], VOCABULARY)
    assert is_target(message).tolist() == [True]
    assert is_known(message).tolist() == [False]
    assert message.word_chars == [0, len(OVERLONG_WORD)]


def test_spans_hold_exactly_the_words_with_the_prefix() -> None:
    index = SuggestionIndex(VOCABULARY)
    assert {VOCABULARY.words[i] for i in index.ids} == set(WORDS)
    for word in WORDS:
        for typed, (first, last) in enumerate(index.spans[VOCABULARY.id_of(word)]):
            found = {VOCABULARY.words[i] for i in index.ids[first:last]}
            assert found == {other for other in WORDS if other.startswith(word[:typed])}
    assert not np.diff(index.spans[VOCABULARY.id_of(".")]).any()
