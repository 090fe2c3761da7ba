"""Grown weights leave everything about old words as it was, but for the one factor that new words take."""

import numpy as np
import pytest

from model.growing import grow_weights, grown_shape
from model.network import NetworkShape, initial_weights
from protocol.errors import WrongContent
from protocol.weights import check_weights
from tokenizer.growing import estimated_shares, grow_vocabulary
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

WORDS = {f"w{first}{second}": 1.0 + 9 * place for place, first in enumerate("abcde") for second in "fghi"}
OLD = Vocabulary(train_vocabulary(WORDS, NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)))
SHAPE = NetworkShape(vocabulary_size=len(OLD), embedding_size=6, num_units=9)
GROWN = grow_vocabulary(OLD, estimated_shares(OLD, {"zorbo": 40.0, "blip": 20.0, "plim": 10.0}))


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return initial_weights(SHAPE, 3, np.array(OLD.log_probabilities, dtype=np.float32))


def log_probabilities(weights: dict[str, np.ndarray], tokens: list[list[int]]) -> np.ndarray:
    import tensorflow as tf

    from model.forward import forward_logits, zero_state

    tensors = {name: tf.constant(value) for name, value in weights.items()}
    logits, _ = forward_logits(tensors, tf.constant(tokens), zero_state(len(tokens), tensors))
    return tf.nn.log_softmax(tf.cast(logits, tf.float64)).numpy()


def test_old_words_lose_one_factor_and_nothing_else(weights: dict[str, np.ndarray]) -> None:
    tokens = np.random.default_rng(5).integers(0, len(OLD), (7, 8)).tolist()
    grown = grow_weights(weights, SHAPE, GROWN)
    before, after = log_probabilities(weights, tokens), log_probabilities(grown, tokens)
    lost = before - after[..., : len(OLD)]
    taken = np.exp(after[..., len(OLD) :]).sum(axis=-1, keepdims=True)
    assert np.allclose(lost, -np.log1p(-taken), atol=1e-6)
    assert 0 < taken.max() < 0.05


def test_old_rows_stay_to_the_last_bit_and_the_shape_fits(weights: dict[str, np.ndarray]) -> None:
    grown = grow_weights(weights, SHAPE, GROWN)
    check_weights(grown, grown_shape(SHAPE, GROWN).tensors)
    for name, value in weights.items():
        assert (grown[name][: len(value)] == value).all()
    assert len(grown["embedding"]) == len(OLD) + 3


def test_new_words_begin_as_rare_ones_by_their_votes(weights: dict[str, np.ndarray]) -> None:
    grown = grow_weights(weights, SHAPE, GROWN)
    rarest = sorted(OLD.target_ids, key=lambda index: OLD.log_probabilities[index])[:2]
    for word in ("zorbo", "blip", "plim"):
        assert grown["embedding"][GROWN.id_of(word)] == pytest.approx(weights["embedding"][rarest].mean(axis=0))
    biases = [grown["output_bias"][GROWN.id_of(word)] for word in ("zorbo", "blip", "plim")]
    assert np.diff(biases) == pytest.approx([-np.log(2)] * 2, abs=1e-5)
    assert biases[0] == pytest.approx(weights["output_bias"][rarest].mean(), abs=0.1)


def test_without_new_words_nothing_changes(weights: dict[str, np.ndarray]) -> None:
    assert all((value == weights[name]).all() for name, value in grow_weights(weights, SHAPE, OLD).items())


def test_what_does_not_fit_is_refused(weights: dict[str, np.ndarray]) -> None:
    small = Vocabulary(train_vocabulary(WORDS, len(OLD) - 1))
    with pytest.raises(ValueError, match=f"at least {len(OLD)} ids"):
        grow_weights(weights, SHAPE, small)
    with pytest.raises(WrongContent):
        grow_weights({**weights, "output_bias": weights["output_bias"][1:]}, SHAPE, GROWN)
    marks = Vocabulary(train_vocabulary({".": 1.0}, NUM_SPECIAL + len(PUNCTUATION)))
    wordless = NetworkShape(vocabulary_size=len(marks), embedding_size=6, num_units=9)
    with pytest.raises(ValueError, match="must have words"):
        grow_weights(initial_weights(wordless, 1), wordless, marks)
