"""The index finds exactly the words that a scan would find."""

from hypothesis import given
from hypothesis import strategies as st

from tokenizer.prefix_index import PrefixIndex

WORDS = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=30)


@given(WORDS, st.text(max_size=3))
def test_it_agrees_with_a_scan(words, prefix):
    index = PrefixIndex(words, range(len(words)))
    expected = {i for i, word in enumerate(words) if word.startswith(prefix)}
    assert set(index.starting_with(prefix).tolist()) == expected


@given(WORDS)
def test_ids_are_in_the_alphabetical_order_of_their_words(words):
    ids = PrefixIndex(words, range(len(words))).ids.tolist()
    assert [words[i] for i in ids] == sorted(words)
