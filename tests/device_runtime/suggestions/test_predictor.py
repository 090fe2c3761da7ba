import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_runtime.runtime import InvalidModel, Model
from device_runtime.suggestions.blocked import BlockList
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.suggestions.predictor import NUM_SUGGESTIONS, Predictor, recent, split_text
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
    assert len(read) == 3
    for text in ("see you at t", "see you at th", "see you at the"):
        predictor.suggest(text)
    assert len(read) == 3
    predictor.suggest("see you at the ")
    assert len(read) == 4
    predictor.suggest("see you at th")  # the last word is deleted: one step back
    assert len(read) == 5
    predictor.suggest("")
    assert len(read) == 5


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


ANY_TEXT = st.text(st.characters(codec=None), max_size=40) | st.lists(
    st.sampled_from(
        [
            "see ",
            "\0",
            "\ud800",
            "\udfff ",
            "\U0001f468\u200d\U0001f469",
            "\u05e9\u05dc\u05d5\u05dd ",
            "\u202e",
            "\u0645\u0631",
            "e\u0301",
            "\ufb03",
            "\u0130",
            "x" * 3_000,
            "' ",
            "'",
            "STA",
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=80, deadline=None)
@given(ANY_TEXT)
def test_any_text_is_answered(prediction_model, vocabulary, casing, text):
    found = Predictor(prediction_model, vocabulary, casing).suggest(text)
    assert len(found) <= NUM_SUGGESTIONS
    assert all(each.word.encode() for each in found)  # never a lone surrogate
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


@given(st.text("ab  .", max_size=3_000))
def test_the_recent_part_is_an_end_of_the_text_that_stays_put_while_typing(text):
    kept = recent(text)
    assert text.endswith(kept)
    assert len(kept) < 512
    assert kept == text or len(kept) > 0
    assert len(text) % 256 == 255 or text[: -len(kept) or None] == (text + "a")[: -len(recent(text + "a")) or None]


def test_a_word_of_100_000_letters_costs_nothing_and_leaves_what_follows(predictor):
    assert predictor.suggest("x" * 100_000) == []
    assert len(predictor.suggest("x" * 100_000 + " see you ")) == NUM_SUGGESTIONS


@pytest.mark.parametrize("text", ["we go to the stat", "STA", "", "see you "])
def test_a_blocked_word_is_never_suggested(*, prediction_model, vocabulary, casing, text):
    open_to_all = Predictor(prediction_model, vocabulary, casing).suggest(text)
    blocked = BlockList(suggestion.word.lower() for suggestion in open_to_all)
    found = Predictor(prediction_model, vocabulary, casing, blocked=blocked).suggest(text)
    assert len(blocked) > 0
    assert not {word.lower() for word in words(found)} & {word.lower() for word in words(open_to_all)}


OWN = "greetings from Quargelheim and the zorble folk"


@pytest.fixture
def personal(log, predictor):
    """Personalisation tuned on a log in which one message comes again and again."""
    log.extend([(OWN, "chat", 1_700_000_000.0 - 100 + index) for index in range(60)])
    model = PersonalModel(log)
    assert model.refresh(predictor._model).weight > 0
    return model


@pytest.fixture
def own(prediction_model, vocabulary, casing, personal):
    return Predictor(prediction_model, vocabulary, casing, personal=personal)


def test_own_words_complete_with_their_own_capitals(own, predictor):
    assert words(own.suggest("greetings from qua")) == ["Quargelheim"]
    assert words(own.suggest("greetings from QUA")) == ["QUARGELHEIM"]
    assert words(own.suggest("zor")) == ["zorble"]
    assert predictor.suggest("zor") == []


def test_what_a_person_says_comes_first(own, predictor):
    assert own.suggest("greetings ")[0].word == "from"
    assert own.suggest("greetings from Quargelheim and the ")[0].word == "zorble"
    assert "zorble" not in words(predictor.suggest("greetings from Quargelheim and the "))


def test_unknown_words_are_told_apart_though_the_model_knows_neither(own):
    assert own.suggest("from quargelheim ")[0] != own.suggest("from nowherestan ")[0]


def test_own_words_can_be_blocked(prediction_model, vocabulary, casing, personal):
    blocked = BlockList(["zorble", "quargelheim"])
    predictor = Predictor(prediction_model, vocabulary, casing, personal=personal, blocked=blocked)
    for text in ("zor", "greetings from ", "Qua", "and the "):
        assert not {"zorble", "quargelheim"} & {word.lower() for word in words(predictor.suggest(text))}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(keys, max_size=25))
def test_personal_suggestions_depend_on_the_text_alone(prediction_model, vocabulary, casing, personal, strokes):
    predictor = Predictor(prediction_model, vocabulary, casing, personal=personal)
    text = ""
    for key in strokes:
        text = text[:-1] if key == "<back>" else text + key
        found = predictor.suggest(text)
        assert sum(each.probability for each in found) <= 1 + 1e-6
    assert not strokes or found == Predictor(prediction_model, vocabulary, casing, personal=personal).suggest(text)


def test_switch_and_wipe_take_it_all_away_at_the_next_word(own, predictor, log):
    log.personal = False
    assert own.suggest("greetings from ") == predictor.suggest("greetings from ")
    log.personal = True
    assert own.suggest("hello zor") != []
    log.wipe()
    assert own.suggest("greetings again zor") == []
    assert own.suggest("see you ") == predictor.suggest("see you ")


@pytest.mark.parametrize("kept", [0, 4, 7])
def test_a_stub_of_a_model_is_a_typed_error(prediction_model, vocabulary, casing, kept):
    # Longer pieces are stopped by their SHA-256, before a runtime that trusts offsets sees them: see test_release.
    with pytest.raises(InvalidModel):
        Predictor(prediction_model[:kept], vocabulary, casing)


def test_a_vocabulary_of_another_size_is_refused(prediction_model, messages):
    counts = count_words(messages)
    smaller = Vocabulary(train_vocabulary(counts, size=30))
    with pytest.raises(InvalidModel, match="logits of shape"):
        Predictor(prediction_model, smaller, Casing({}))


def test_a_training_graph_is_no_prediction_model(graph, vocabulary, casing):
    with pytest.raises(InvalidModel, match="must have a signature predict"):
        Predictor(graph, vocabulary, casing)
