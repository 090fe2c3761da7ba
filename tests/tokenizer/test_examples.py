"""Every word of every message is a target exactly once."""

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.examples import count_sequences, make_examples, pad_to_batches
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, START_ID, UNKNOWN_ID, Vocabulary

WORDS = [f"word{letter}" for letter in "abcdefghij"]
VOCABULARY = Vocabulary(train_vocabulary(dict.fromkeys(WORDS, 1.0), NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)))
MESSAGES = st.lists(
    st.lists(st.integers(0, len(VOCABULARY) - 1).filter(lambda i: i not in (1, 2)), max_size=30).map(
        lambda ids: [START_ID, *ids]
    ),
    max_size=10,
)


@given(MESSAGES, st.integers(1, 13))
def test_each_target_counts_once_and_follows_its_token(messages, length):
    examples = make_examples(messages, VOCABULARY, length)
    expected = Counter(
        (before, word) for message in messages for before, word in itertools.pairwise(message)
        if word in VOCABULARY.target_ids
    )  # fmt: skip
    counted = examples.target_weights > 0
    assert Counter(zip(examples.tokens[counted].tolist(), examples.targets[counted].tolist(), strict=True)) == expected
    assert examples.num_targets == sum(expected.values())


@given(MESSAGES, st.integers(1, 7))
def test_batches_have_one_shape_and_lose_nothing(messages, batch_size):
    examples = make_examples(messages, VOCABULARY, 5)
    batches = pad_to_batches(examples, batch_size)
    assert all(array.shape == (batch_size, 5) for batch in batches for array in batch)
    assert all(batch.tokens.dtype == np.int32 and batch.target_weights.dtype == np.float32 for batch in batches)
    assert sum(batch.num_targets for batch in batches) == examples.num_targets


def test_unknown_words_and_marks_are_context_only():
    comma = VOCABULARY.id_of(",")
    examples = make_examples([[START_ID, UNKNOWN_ID, comma, VOCABULARY.id_of("worda")]], VOCABULARY, 4)
    assert examples.target_weights.tolist() == [[0, 0, 1, 0]]
    assert examples.tokens.tolist() == [[START_ID, UNKNOWN_ID, comma, 0]]


KNOWN = MESSAGES.map(lambda messages: [[index or 3 for index in message] for message in messages])  # 0 is padding too


@given(KNOWN, st.integers(1, 13))
def test_messages_share_a_sequence_only_behind_a_start(messages, length):
    """So that a network which forgets at every start reads each piece as if it were alone."""
    expected = Counter(
        tuple(itertools.pairwise(message[first : first + length + 1]))
        for message in messages
        for first in range(0, len(message) - 1, length)
    )
    examples = make_examples(messages, VOCABULARY, length)
    found: Counter = Counter()
    for tokens, targets in zip(examples.tokens.tolist(), examples.targets.tolist(), strict=True):
        pairs = [pair for pair in zip(tokens, targets, strict=True) if pair != (0, 0)]
        starts = [place for place, (token, _) in enumerate(pairs) if token == START_ID and place > 0]
        found.update(tuple(pairs[first:last]) for first, last in itertools.pairwise([0, *starts, len(pairs)]))
    assert found == expected


@given(KNOWN, st.integers(1, 13))
def test_no_sequence_would_have_fitted_behind_another(messages, length):
    examples = make_examples(messages, VOCABULARY, length)
    assert len(examples.tokens) == count_sequences([len(message) - 1 for message in messages], length)
    taken = ((examples.tokens != 0) | (examples.targets != 0)).sum(axis=1)
    begins = examples.tokens[:, 0] == START_ID
    for one, other in itertools.permutations(range(len(taken)), 2):
        assert not begins[other] or taken[one] + taken[other] > length
