import pytest

from model.public_words import public_vocabulary


def test_the_commonest_words_of_a_language_come_first() -> None:
    vocabulary = public_vocabulary("en", 100)
    assert len(vocabulary) == 100
    assert vocabulary.words[3:5] == ("the", "to")


def test_a_language_without_counts_is_refused() -> None:
    with pytest.raises(LookupError):
        public_vocabulary("xx", 100)
