import numpy as np
import pytest
from hypothesis import given, settings
from reference_ngrams import SOME_WORDS, VOCABULARY_SIZE, make_text, texts

from evaluation.baselines.kneser_ney import estimate
from evaluation.baselines.ngram import ABSENT, NgramPredictor, flatten

MODEL = estimate(make_text(60, 5), SOME_WORDS, VOCABULARY_SIZE, 4).model


@settings(max_examples=15, deadline=None)
@given(texts)
def test_scores_do_not_depend_on_the_batch(messages: list[list[int]]) -> None:
    together = list(NgramPredictor(MODEL).score(messages))
    assert [scores.shape for scores in together] == [(len(message) - 1, VOCABULARY_SIZE) for message in messages]
    for size in (1, 5):
        for scores, other in zip(together, NgramPredictor(MODEL, max_batch_tokens=size).score(messages), strict=True):
            np.testing.assert_array_equal(scores, other)


def test_scores_see_only_what_came_before() -> None:
    whole, part = NgramPredictor(MODEL).score([[1, 4, 5, 6, 4], [1, 4, 5, 8]])
    np.testing.assert_array_equal(whole[:3], part)
    assert not np.array_equal(whole[3], whole[1])


def test_single_words_are_those_of_the_rows() -> None:
    (message,) = make_text(1, 6)
    (scores,) = NgramPredictor(MODEL).score([message])
    tokens, places = flatten([message[:-1]])
    found = MODEL.find_contexts(tokens, places)
    for word in range(VOCABULARY_SIZE):
        for row in range(len(tokens)):
            order = 1 + max(level for level, contexts in enumerate(found) if contexts[row] != ABSENT)
            context = found[order - 1][row : row + 1]
            assert MODEL.log_probability(order, context, np.array([word]))[0] == pytest.approx(
                scores[row, word], rel=1e-5
            )


def test_no_messages_no_scores() -> None:
    assert list(NgramPredictor(MODEL).score([])) == []
