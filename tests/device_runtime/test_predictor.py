import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.predictor import NUM_SUGGESTIONS, Predictor, split_text
from device_runtime.runtime import InvalidModel, Model
from tokenizer.casing import Casing
from tokenizer.text import tokenize
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import START_ID, Vocabulary


@pytest.fixture
def fresh(prediction_model, vocabulary, casing):
    """Suggests as a predictor that has never seen another text."""
    return lambda text: Predictor(prediction_model, vocabulary, casing).suggest(text)


def words(suggestions):
    return [suggestion.word for suggestion in suggestions]


def oracle(prediction_model, vocabulary, text, prefix):
    """Rank and probability by the plain definition: read everything, softmax over the words that fit."""
    predict = Model(prediction_model).signature("predict")
    state = {name: np.zeros(d.shape, d.dtype) for name, d in predict.inputs.items() if name != "token"}
    for token in [START_ID, *vocabulary.encode(tokenize(text))]:
        result = predict({"token": np.array([token], np.int32), **state})
        state = {name: result[name] for name in state}
    logits = result["logits"][0].astype(np.float64)
    fitting = [index for index in sorted(vocabulary.target_ids) if vocabulary.words[index].startswith(prefix)]
    shares = np.exp(logits[fitting]) / np.exp(logits[fitting]).sum()
    return sorted(zip(shares, (vocabulary.words[index] for index in fitting), strict=True), reverse=True)[:3]


@pytest.mark.parametrize(
    ("text", "prefix"), [("", ""), ("see you ", ""), ("see you at the ", "t"), ("zzz is ", "s"), ("good. how, ", "a")]
)
def test_suggestions_are_the_models(*, predictor, prediction_model, vocabulary, text, prefix, each_runtime):
    expected = oracle(prediction_model, vocabulary, text, prefix)
    found = predictor.suggest(text + prefix)
    assert [word.lower() for word in words(found)] == [word for _, word in expected]
    np.testing.assert_allclose([each.probability for each in found], [share for share, _ in expected], rtol=1e-4)


def test_three_next_words_and_completions(predictor):
    assert len(predictor.suggest("")) == NUM_SUGGESTIONS
    assert len(predictor.suggest("see you ")) == NUM_SUGGESTIONS
    assert words(predictor.suggest("see you tom")) == ["tomorrow"]
    assert predictor.suggest("see you tomorrows") == []


def test_punctuation_and_special_ids_are_never_suggested(predictor, vocabulary):
    allowed = {vocabulary.words[index] for index in vocabulary.target_ids}
    for text in ("", "see", "the train ", "thanks, ", "zzz "):
        assert {word.lower() for word in words(predictor.suggest(text))} <= allowed


keys = st.sampled_from(
    [*"seyouathrin", " ", " ", ".", "?", "<back>", "<back>", "the train ", "\u2019", "\U0001f600", "A"]
)


@settings(max_examples=30, deadline=None)
@given(st.lists(keys, max_size=25))
def test_carried_state_gives_what_reading_everything_anew_gives(prediction_model, vocabulary, casing, strokes):
    predictor = Predictor(prediction_model, vocabulary, casing)
    text = ""
    for key in strokes:
        text = text[:-1] if key == "<back>" else text + key
        found = predictor.suggest(text)
    assert not strokes or found == Predictor(prediction_model, vocabulary, casing).suggest(text)


def test_another_text_and_reset_forget_the_first(predictor, fresh):
    predictor.suggest("see you at the station ")
    assert predictor.suggest("the train ") == fresh("the train ")
    predictor.reset()
    assert predictor.suggest("the train ") == fresh("the train ")


def test_typing_on_reads_only_what_is_new(predictor, monkeypatch):
    read = []
    advance = Predictor._advance
    monkeypatch.setattr(Predictor, "_advance", lambda self, token: (read.append(token), advance(self, token)))
    predictor.suggest("see you at ")
    assert len(read) == 4  # the start and three words
    for text in ("see you at t", "see you at th", "see you at the"):
        predictor.suggest(text)
    assert len(read) == 4
    predictor.suggest("see you at the ")
    assert len(read) == 5
    predictor.suggest("see you at th")  # the last word is deleted: one step back
    assert len(read) == 6


def test_a_long_text_costs_no_more_than_a_short_one(predictor, monkeypatch):
    read = []
    advance = Predictor._advance
    monkeypatch.setattr(Predictor, "_advance", lambda self, token: (read.append(token), advance(self, token)))
    predictor.suggest("you " * 20_000)
    assert len(read) <= 128
    before = len(read)
    for count in range(20_001, 20_050):
        predictor.suggest("you " * count)
    assert len(read) - before <= 49 + 128


@pytest.mark.parametrize(
    "text",
    ["\U0001f600", "\U0001f468\u200d\U0001f469 ", "שלום ", "مرحبا", "x" * 100_000, "\0", "\ud800", "e\u0301", "'", "_"],
    ids=range(10),
)
def test_odd_text_is_answered(predictor, text):
    found = predictor.suggest(text)
    assert len(found) <= NUM_SUGGESTIONS
    assert all(0 <= each.probability <= 1 for each in found)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_answered(prediction_model, vocabulary, casing, text):
    found = Predictor(prediction_model, vocabulary, casing).suggest(text)
    assert sum(each.probability for each in found) <= 1 + 1e-6
    assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)


@given(st.text(max_size=40))
def test_splitting_agrees_with_the_tokenizer(text):
    finished, unfinished = split_text(text)
    tokens = tokenize(text)
    assert tokens[: len(finished)] == finished
    assert len(tokens) - len(finished) in (0, 1)
    assert split_text(text + " ").finished == tokens
    assert split_text(text + " ").unfinished.text == ""
    if len(tokens) == len(finished):
        assert unfinished.text == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("we go to the stat", "Station"),  # its usual spelling
        ("Tom", "Tomorrow"),
        ("tom", "tomorrow"),
        ("TOM", "TOMORROW"),
        ("see you. tom", "tomorrow"),
        ("see you. Tom", "Tomorrow"),
        ("STA", "STATION"),
    ],
)
def test_capitals_follow_the_person(predictor, text, expected):
    assert words(predictor.suggest(text)) == [expected]


def test_next_words_have_capitals_where_a_sentence_begins(predictor):
    for text in ("", "see you. ", "are you? "):
        assert all(word[:1].isupper() for word in words(predictor.suggest(text)))
    assert any(word[:1].islower() for word in words(predictor.suggest("see you, ")))


def test_a_vocabulary_of_another_size_is_refused(prediction_model, messages):
    counts = count_words(messages)
    smaller = Vocabulary(train_vocabulary(counts, size=30))
    with pytest.raises(InvalidModel, match="logits of shape"):
        Predictor(prediction_model, smaller, Casing({}))


def test_a_training_graph_is_no_prediction_model(graph, vocabulary, casing):
    with pytest.raises(InvalidModel, match="must have a signature predict"):
        Predictor(graph, vocabulary, casing)
