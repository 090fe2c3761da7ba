import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.suggestions.personal.output_layer import DamagedLayer, OutputLayer

VOCABULARY, EMBEDDING = 30, 4


def softmax(logits):
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum()


@pytest.fixture
def logits(generator):
    return generator.normal(size=VOCABULARY).astype(np.float32)


@pytest.fixture
def projected(generator):
    return generator.normal(size=EMBEDDING).astype(np.float32)


def test_untrained_it_changes_nothing(logits, projected):
    np.testing.assert_array_equal(OutputLayer(EMBEDDING, 10).adjust(logits, projected), logits)


def test_a_step_is_the_gradient_of_the_cross_entropy(logits, projected):
    layer = OutputLayer(EMBEDDING, VOCABULARY)
    layer.learn(softmax(logits), projected, 7)
    steps = np.column_stack([layer._bias / 0.05, layer._weights / 0.003])
    inputs = np.append(1.0, projected)

    def loss(change):
        return -np.log(softmax(logits + change @ inputs)[7])

    for row, column in ((7, 0), (7, 2), (3, 0), (20, 4)):
        nudge = np.zeros((VOCABULARY, EMBEDDING + 1))
        nudge[row, column] = 1e-4
        slope = (loss(nudge) - loss(-nudge)) / 2e-4
        assert steps[row, column] == pytest.approx(-slope, abs=1e-4)


def test_learning_raises_what_was_typed_there_and_only_in_its_rows(logits, projected):
    layer = OutputLayer(EMBEDDING, 10)
    for _ in range(50):
        layer.learn(softmax(layer.adjust(logits, projected)), projected, 4)
    adjusted = layer.adjust(logits, projected)
    assert softmax(adjusted)[4] > 2 * softmax(logits)[4]
    np.testing.assert_array_equal(adjusted[10:], logits[10:])
    layer.learn(softmax(adjusted), projected, 25)  # outside its rows: the others fall


def test_it_comes_back_from_its_bytes(logits, projected):
    layer = OutputLayer(EMBEDDING, 10)
    for target in range(10):
        layer.learn(softmax(logits), projected, target)
    again = OutputLayer.from_bytes(layer.to_bytes())
    np.testing.assert_allclose(again.adjust(logits, projected), layer.adjust(logits, projected), rtol=1e-3, atol=1e-3)


def test_at_full_size_it_is_small():
    assert len(OutputLayer(96).to_bytes()) < 200_000


@given(st.binary(max_size=80) | st.integers(0, 200).map(lambda kept: OutputLayer(4, 10).to_bytes()[:kept]))
def test_other_bytes_are_a_typed_error(payload):
    if payload != OutputLayer(4, 10).to_bytes():
        with pytest.raises(DamagedLayer):
            OutputLayer.from_bytes(payload)


def test_infinity_is_refused():
    layer = OutputLayer(4, 10)
    layer._bias[3] = np.inf
    with pytest.raises(DamagedLayer, match="finite"):
        OutputLayer.from_bytes(layer.to_bytes())
