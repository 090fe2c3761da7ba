import numpy as np
import pytest

from device_runtime.suggestions.next_word import NextWordModel
from device_runtime.suggestions.personal.blend import Blend, tuned_probabilities
from device_runtime.suggestions.personal.cache import BEGINNING, PersonalCache
from device_runtime.suggestions.personal.output_layer import OutputLayer
from tokenizer.text import tokenize
from tokenizer.vocabulary import UNKNOWN_ID

TEXTS = ["see you at the zorble", "the zorble is late, see you soon", "flink at the station", "see you"]
CONTEXTS = [
    (BEGINNING, BEGINNING, BEGINNING),
    (BEGINNING, BEGINNING, "see"),
    (BEGINNING, "see", "you"),
    ("see", "you", "at"),
    ("at", "the", "zorble"),
    ("never", "at", "the"),
    ("never", "seen", "yet"),
]


@pytest.fixture
def model(prediction_model, vocabulary):
    return NextWordModel(prediction_model, vocabulary)


@pytest.fixture
def cache():
    cache = PersonalCache(half_life_words=20)
    for text in TEXTS:
        cache.learn(tokenize(text))
    return cache


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_every_word_has_the_share_that_the_formula_gives(*, model, cache, context, weight):
    blend = Blend(model, cache, weight)
    mixed = blend.probabilities(model.start, context)
    shared = model.probabilities(model.start.logits)
    assert len(mixed) == len(model.vocabulary) + 1  # zorble; flink came once
    for row, found in enumerate(mixed):
        if row < len(shared) and row not in model.target_ids:
            assert found == 0
            continue
        ours = shared[row] if row < len(shared) else 0.0
        expected = (1 - weight) * ours + weight * cache.share(blend.word(row), context)
        assert found == pytest.approx(expected)
    assert mixed.sum() <= 1 + 1e-9


def test_own_words_are_those_outside_the_vocabulary(model, cache):
    blend = Blend(model, cache, 0.5)
    assert [blend.word(row) for row in blend.starting_with("")] == ["zorble"]
    assert [blend.word(row) for row in blend.starting_with("zo")] == ["zorble"]
    assert len(blend.starting_with("s")) == 0
    assert all(model.vocabulary.id_of(blend.word(row)) == UNKNOWN_ID for row in blend.starting_with(""))


def test_an_empty_cache_leaves_the_model(model):
    mixed = Blend(model, PersonalCache(), 0.0).probabilities(model.start, CONTEXTS[0])
    np.testing.assert_array_equal(mixed, model.probabilities(model.start.logits))


def test_the_layer_corrects_the_shared_part(model):
    layer = OutputLayer(len(model.projected(model.start.state)), len(model.vocabulary))
    station = model.vocabulary.id_of("station")
    for _ in range(20):
        layer.learn(tuned_probabilities(model, layer, model.start), model.projected(model.start.state), station)
    mixed = Blend(model, PersonalCache(), 0.0, layer).probabilities(model.start, CONTEXTS[0])
    assert mixed[station] > model.probabilities(model.start.logits)[station]
    assert mixed.sum() == pytest.approx(1)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_out_of_bounds_is_refused(model, weight):
    with pytest.raises(ValueError, match="weight must be in"):
        Blend(model, PersonalCache(), weight)
