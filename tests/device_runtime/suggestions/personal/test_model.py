import logging
import sqlite3

import pytest

from device_runtime.suggestions.next_word import Interrupted, NextWordModel
from device_runtime.suggestions.personal.blend import tuned_probabilities
from device_runtime.suggestions.personal.model import LAYER, TUNING, PersonalModel
from device_runtime.typing_log import TypingLog
from model.export import export_prediction_model

HABIT = "see you at the zorble soon"


@pytest.fixture
def model(prediction_model, vocabulary):
    return NextWordModel(prediction_model, vocabulary)


@pytest.fixture
def habits(log, clock):
    log.extend([(HABIT, "chat", clock.now - 50 + index / 10) for index in range(60)])
    return log


@pytest.fixture
def personal(habits, model):
    personal = PersonalModel(habits)
    assert personal.refresh(model).helps
    return personal


def own(blend):
    return [] if blend is None else [blend.word(int(row)) for row in blend.starting_with("")]


def test_nothing_is_personal_until_tuning_found_help(habits, model):
    personal = PersonalModel(habits)
    assert personal.blend(model) is None
    personal.refresh(model)
    assert own(personal.blend(model)) == ["zorble"]


def test_another_process_finds_the_same(personal, tmp_path, clock, model):
    with TypingLog(tmp_path / "typing_log.sqlite", clock=clock) as same:
        assert own(PersonalModel(same).blend(model)) == own(personal.blend(model)) == ["zorble"]


@pytest.mark.parametrize("switch", ["personal", "consent"])
def test_a_switch_in_another_process_turns_it_off_at_once(personal, tmp_path, clock, model, switch):
    assert personal.blend(model) is not None
    with TypingLog(tmp_path / "typing_log.sqlite", clock=clock) as same:
        setattr(same, switch, False)
        assert personal.blend(model) is None
        assert len(personal._cache) == 0
        setattr(same, switch, True)
    assert own(personal.blend(model)) == ["zorble"]


def test_a_wipe_in_another_process_is_a_wipe_here(personal, tmp_path, clock, model):
    assert personal.blend(model) is not None
    with TypingLog(tmp_path / "typing_log.sqlite", clock=clock) as same:
        same.wipe()
    assert personal.blend(model) is None
    assert len(personal._cache) == 0
    assert personal._layer is None
    personal.learn(HABIT)
    assert len(personal._cache) == 0


def test_switched_off_nothing_is_tuned(habits, model):
    habits.personal = False
    assert not PersonalModel(habits).refresh(model).helps
    habits.personal = True
    assert PersonalModel(habits).blend(model) is None


def test_it_learns_message_by_message(personal, habits, model):
    assert personal.blend(model) is not None
    for _ in range(2):
        habits.append("hello Flink", "chat")
        personal.learn("hello Flink")
    assert own(personal.blend(model)) == ["flink", "hello", "zorble"]
    assert personal.blend(model).spelling("flink") == "Flink"


def test_the_layer_learns_message_by_message_until_it_is_tuned_again(personal, habits, model, vocabulary):
    station = vocabulary.id_of("station")
    sealed = habits.sealed.get(LAYER)
    shares = []
    for _ in range(4):
        shares.append(tuned_probabilities(model, personal.blend(model)._layer, model.start)[station])
        habits.append("station", "chat")
        personal.learn("station")
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert habits.sealed.get(LAYER) == sealed
    personal.refresh(model)
    assert habits.sealed.get(LAYER) != sealed


def test_the_layer_of_another_model_learns_nothing(personal, model, checkpoint, vocabulary):
    other = NextWordModel(export_prediction_model({n: v * 1.01 for n, v in checkpoint.items()}), vocabulary)
    assert personal.blend(other)._layer is None
    before = personal._layer.to_bytes()
    personal.learn("station")
    assert personal._layer.to_bytes() == before


def test_a_message_is_learnt_once_though_tuning_came_between(personal, habits, model):
    personal.blend(model)
    PersonalModel(habits).refresh(model)  # as the daemon does
    habits.append("hello Flink", "chat")
    personal.learn("hello Flink")  # reads the log, which has it
    assert "flink" not in own(personal.blend(model))
    assert personal._cache.counts(())["flink"] == pytest.approx(1)


def test_what_the_log_scrubs_is_not_learnt_either(personal, model):
    personal.blend(model)
    for _ in range(3):
        personal.learn("call 12345678 or mail zed@example.org or see https://zed.example.org")
    assert not {"12345678", "zed", "example", "org", "https"} & set(personal._cache.counts(()))
    assert not any(word.startswith("placeholder") for word in personal._cache.counts(()))


def test_expired_messages_are_forgotten_by_the_next_tuning(personal, habits, model, clock):
    assert own(personal.blend(model)) == ["zorble"]
    clock.now += 61 * 24 * 3600
    personal.refresh(model)
    assert personal.blend(model) is None


def test_nothing_typed_is_stored_outside_messages(personal, habits, model):
    for name in (TUNING, LAYER):
        assert b"zorble" not in (habits.sealed.get(name) or b"")


def test_fine_tuned_weights_are_for_one_model_only(personal, habits, model, checkpoint, vocabulary):
    other = NextWordModel(export_prediction_model({n: v * 1.01 for n, v in checkpoint.items()}), vocabulary)
    assert personal._log.sealed.get(LAYER) is not None
    assert personal.blend(model)._layer is not None
    assert personal.blend(other)._layer is None
    assert own(personal.blend(other)) == ["zorble"]


def test_an_interrupted_tuning_leaves_what_was(personal, habits, model):
    before = habits.sealed.get(TUNING)
    with pytest.raises(Interrupted):
        personal.refresh(model, should_stop=lambda: True)
    assert habits.sealed.get(TUNING) == before


@pytest.mark.parametrize("content", [b"", b"{}x", b'{"tuning": {"weight": 7}}', b"\xff" * 9])
def test_damaged_values_switch_it_off(personal, habits, model, caplog, content):
    habits.sealed.put(TUNING, content)
    with caplog.at_level(logging.WARNING):
        assert personal.blend(model) is None
    assert "personalisation is off" in caplog.text


def test_a_damaged_layer_switches_it_off(personal, habits, model):
    habits.sealed.put(LAYER, b"no layer")
    assert PersonalModel(habits).blend(model) is None


def test_a_failing_log_leaves_suggestions(personal, habits, model, monkeypatch, caplog):
    def fail(_name):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(type(habits.sealed), "get", lambda self, name: fail(name))
    with caplog.at_level(logging.WARNING):
        assert personal.blend(model) is None
        personal.learn(HABIT)
    assert "zorble" not in caplog.text
