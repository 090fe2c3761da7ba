import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.suggestions.next_word import FLOOR, Interrupted, NextWordModel
from device_runtime.suggestions.personal.cache import PersonalCache
from device_runtime.suggestions.personal.tuning import MIN_WORDS, WEIGHTS, Shares, choose, new_layer, teach, tune
from tokenizer.text import tokenize

NO_WEIGHT = st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=MIN_WORDS, max_size=MIN_WORDS + 30)


def shares(rows):
    return Shares(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def gains(rows, weight, *, tuned):
    shared, own, cached = np.array(rows).T
    mixed = (1 - weight) * (own if tuned else shared) + weight * cached
    return np.log(np.maximum(mixed, FLOOR)) - np.log(np.maximum(shared, FLOOR))


@settings(max_examples=60)
@given(NO_WEIGHT)
def test_what_is_chosen_beat_the_shared_model_by_more_than_chance(rows):
    found = choose(shares(rows))
    if not found.helps:
        assert found.gain == 0
        return
    gained = gains(rows, found.weight, tuned=found.fine_tuned)
    assert found.gain == pytest.approx(gained.mean())
    assert gained.mean() > gained.std() / np.sqrt(len(rows))
    assert all(gained.mean() >= gains(rows, weight, tuned=found.fine_tuned).mean() - 1e-9 for weight in WEIGHTS)


@pytest.mark.parametrize(
    ("rows", "weight", "fine_tuned"),
    [
        ([(0.1, 0.1, 0.0)] * 200, 0.0, False),  # the cache knows nothing
        ([(0.0, 0.0, 0.5)] * 200, WEIGHTS[-1], False),  # it alone knows
        ([(0.1, 0.3, 0.0)] * 200, 0.0, True),
        ([(0.1, 0.05, 0.0)] * 200, 0.0, False),  # fine-tuning hurts
        ([(0.1, 0.1, 0.0)] * 199 + [(1e-7, 1e-7, 1.0)], 0.0, False),  # one lucky word
        ([(0.1, 0.9, 0.9)] * (MIN_WORDS - 1), 0.0, False),  # too few words
    ],
)
def test_choices(rows, weight, fine_tuned):
    found = choose(shares(rows))
    assert (found.weight, found.fine_tuned, found.num_words) == (weight, fine_tuned, len(rows))


@pytest.fixture
def model(prediction_model, vocabulary):
    return NextWordModel(prediction_model, vocabulary)


def test_habits_are_found(model):
    tuning, layer = tune(model, [tokenize("see you at the zorble soon")] * 40, PersonalCache())
    assert tuning.weight == WEIGHTS[-1]
    assert tuning.gain > 0.5
    assert tuning.num_words == 240
    assert (layer is not None) == tuning.fine_tuned


def test_noise_stays_without(model, vocabulary, generator):
    words = [vocabulary.words[index] for index in sorted(vocabulary.target_ids)]
    messages = [tokenize(" ".join(generator.permutation(words)[:6])) for _ in range(60)]
    tuning, layer = tune(model, messages, PersonalCache())
    assert tuning.gain < 0.1
    assert layer is None or tuning.fine_tuned


def test_a_word_is_foreseen_before_it_is_learnt(model):
    """Words that never come again give the cache nothing to be right about."""
    messages = [tokenize(f"qu{chr(97 + number // 26)}{chr(97 + number % 26)}") for number in range(300)]
    assert tune(model, messages, PersonalCache())[0].weight == 0


@pytest.mark.parametrize(("max_words", "num_words"), [(0, 0), (5, 3), (6, 6), (1_000, 300)])
def test_only_the_newest_words_are_foreseen_and_all_are_learnt(model, max_words, num_words):
    cache = PersonalCache(half_life_words=1e12)
    tuning, _ = tune(model, [tokenize("see you, soon!")] * 100, cache, max_words=max_words)
    assert tuning.num_words == num_words
    assert cache.total(()) == pytest.approx(300)


def test_a_layer_that_is_taught_one_by_one_is_the_tuned_one(model):
    texts = ["see you at the station", "you see it soon", "flink at the station"] * 40
    tuning, layer = tune(model, [tokenize(text) for text in texts], PersonalCache())
    assert tuning.fine_tuned
    taught = new_layer(model)
    for text in texts:
        teach(model, taught, tokenize(text))
    assert taught.to_bytes() == layer.to_bytes()


def test_it_stops_when_told_to(model):
    polls = iter([False, False, True])
    with pytest.raises(Interrupted):
        tune(model, [tokenize("see you")] * 10, PersonalCache(), should_stop=lambda: next(polls))
    assert next(polls, None) is None


def test_an_empty_log_is_no_help(model):
    assert not tune(model, [], PersonalCache())[0].helps
