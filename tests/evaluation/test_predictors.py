import numpy as np
import pytest

from evaluation.predictors import NetworkPredictor, UnigramPredictor
from model.network import NetworkShape, initial_weights
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, START_ID, Vocabulary

WORDS = ["a", "an", "and", "ant", "zoo"]
VOCABULARY = Vocabulary(train_vocabulary(dict.fromkeys(WORDS, 1.0), NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)))
SHAPE = NetworkShape(vocabulary_size=40, embedding_size=6, num_units=9)


def test_unigram_is_add_one_over_words_only() -> None:
    predictor = UnigramPredictor(VOCABULARY, {"zoo": 8, "a": 1, ".": 900, "unheard": 5})
    (scores,) = predictor.score([[START_ID, 5, 6, 7]])
    assert scores.shape == (3, len(VOCABULARY))
    total = 8 + 1 + len(VOCABULARY)
    for word, count in (("zoo", 9), ("a", 2), ("an", 1), (".", 1)):
        assert np.exp(scores[:, VOCABULARY.id_of(word)]) == pytest.approx(count / total, rel=1e-5)
    assert np.exp(scores[0].astype(np.float64)).sum() == pytest.approx(1, rel=1e-5)


def messages() -> list[list[int]]:
    generator = np.random.default_rng(3)
    return [[START_ID, *generator.integers(3, 40, length).tolist()] for length in (1, 7, 2, 2, 12, 3)]


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("max_batch_tokens", [1, 13, 1_000])
def test_network_gives_each_message_the_same_in_any_batch(max_batch_tokens: int) -> None:
    weights = initial_weights(SHAPE, 1)
    together = list(NetworkPredictor(weights, max_batch_tokens=max_batch_tokens).score(messages()))
    assert [scores.shape for scores in together] == [(len(message) - 1, 40) for message in messages()]
    for scores, message in zip(together, messages(), strict=True):
        (alone,) = NetworkPredictor(weights).score([message])
        np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("tensorflow")
def test_network_sees_only_what_came_before() -> None:
    predictor = NetworkPredictor(initial_weights(SHAPE, 1))
    (whole,) = predictor.score([[START_ID, 5, 6, 7, 8]])
    (part,) = predictor.score([[START_ID, 5, 6, 30]])
    np.testing.assert_allclose(whole[:3], part, rtol=1e-5, atol=1e-6)
    (other,) = predictor.score([[START_ID, 9, 6, 7, 8]])
    assert np.abs(whole[1:] - other[1:]).min(axis=1).max() > 0


@pytest.mark.usefixtures("tensorflow")
def test_network_of_no_messages_is_silent() -> None:
    assert list(NetworkPredictor(initial_weights(SHAPE, 1)).score([])) == []
