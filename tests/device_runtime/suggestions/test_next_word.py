import numpy as np
import pytest

from device_runtime.runtime import InvalidModel
from device_runtime.suggestions.next_word import FLOOR, Interrupted, NextWordModel, log_likelihood
from model.export import export_prediction_model
from tokenizer.text import tokenize


@pytest.fixture
def model(prediction_model, vocabulary):
    return NextWordModel(prediction_model, vocabulary)


def test_probabilities_are_a_softmax_over_what_can_be_suggested(model, vocabulary):
    shares = model.probabilities(model.start.logits)
    targets = sorted(vocabulary.target_ids)
    weights = np.exp(model.start.logits[targets].astype(np.float64))
    np.testing.assert_allclose(shares[targets], weights / weights.sum(), rtol=1e-9)
    assert shares.sum() == pytest.approx(1)
    assert shares[[0, 1, 2]].tolist() == [0, 0, 0]


def test_likelihood_is_that_of_reading_word_by_word(model, vocabulary):
    tokens = tokenize("see you, at zzz station")
    outlook, expected = model.start, []
    for token in tokens:
        if token.is_word:
            share = model.probabilities(outlook.logits)[vocabulary.id_of(token.text)]
            expected.append(np.log(max(share, FLOOR)))
        outlook = model.read(outlook.state, vocabulary.id_of(token.text))
    found = log_likelihood(model, [tokens])
    np.testing.assert_allclose(found, expected)
    assert found[3] == pytest.approx(np.log(FLOOR))  # zzz


def test_nothing_typed_gives_nothing(model):
    assert len(log_likelihood(model, [[], tokenize("!!")])) == 0


def test_it_stops_when_told_to(model):
    polls = iter([False, False, True])
    with pytest.raises(Interrupted):
        log_likelihood(model, [tokenize("see you")] * 5, should_stop=lambda: next(polls))
    assert next(polls, None) is None


def test_a_model_of_nan_is_refused(checkpoint, vocabulary):
    broken = {
        name: np.full_like(value, np.nan) if name == "output_bias" else value for name, value in checkpoint.items()
    }
    with pytest.raises(InvalidModel, match="finite logits"):
        NextWordModel(export_prediction_model(broken), vocabulary)


def test_models_are_told_apart_by_their_content(model, prediction_model, vocabulary, checkpoint):
    other = export_prediction_model({name: value + 0.01 for name, value in checkpoint.items()})
    assert NextWordModel(prediction_model, vocabulary).identity == model.identity
    assert NextWordModel(other, vocabulary).identity != model.identity


def test_the_projected_state_times_embedding_gives_the_logits(model, checkpoint, vocabulary):
    outlook = model.read(model.start.state, vocabulary.id_of("see"))
    by_hand = checkpoint["embedding"] @ model.projected(outlook.state) + checkpoint["output_bias"]
    np.testing.assert_allclose(outlook.logits, by_hand, atol=0.02)  # int8 weights inside
    assert model.projected({}) is None
