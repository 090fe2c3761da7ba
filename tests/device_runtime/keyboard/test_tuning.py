import sqlite3
import threading
import time

import pytest

from device_runtime.keyboard import tuning
from device_runtime.keyboard.tuning import MESSAGES_BETWEEN, TunedPersonal
from device_runtime.suggestions.next_word import Interrupted, NextWordModel
from device_runtime.suggestions.personal import PersonalModel

HABIT = "zebra quilt marmot"
"""Three words that no vocabulary of the tests has, always in this order."""


@pytest.fixture
def new_model(prediction_model, vocabulary):
    return lambda: NextWordModel(prediction_model, vocabulary)


@pytest.fixture
def tunings(monkeypatch):
    """Counts tunings, and lets a test hold them up."""
    begun, go_on = [], threading.Event()
    go_on.set()

    class Watched(PersonalModel):
        def refresh(self, model, **arguments):
            begun.append(model)
            go_on.wait(timeout=10)
            return super().refresh(model, **arguments)

    monkeypatch.setattr(tuning, "PersonalModel", Watched)
    return begun, go_on


def type_habit(log, personal, times):
    for _ in range(times):
        log.append(HABIT, "test")
        personal.learn(HABIT)


def test_a_habit_is_suggested_without_a_daemon(empty_log, new_model):
    empty_log.consent = True
    personal, model = PersonalModel(empty_log), new_model()
    empty_log.extend([(HABIT, "test", time.time())] * 100)
    tuned = TunedPersonal(personal, empty_log, new_model)
    tuned._thread.join()  # the first tuning, to its end
    tuned.close()
    assert personal.blend(model) is not None


def test_it_tunes_at_the_beginning_and_after_some_messages(empty_log, new_model, tunings):
    begun, _ = tunings
    empty_log.consent = True
    with TunedPersonal(PersonalModel(empty_log), empty_log, new_model) as personal:
        personal._thread.join()
        type_habit(empty_log, personal, MESSAGES_BETWEEN - 1)
        assert len(begun) == 1
        type_habit(empty_log, personal, 1)
    assert len(begun) == 2


def test_one_tuning_at_a_time(empty_log, new_model, tunings):
    begun, go_on = tunings
    go_on.clear()
    empty_log.consent = True
    with TunedPersonal(PersonalModel(empty_log), empty_log, new_model) as personal:
        type_habit(empty_log, personal, 2 * MESSAGES_BETWEEN)
        assert len(begun) <= 1
        go_on.set()


def test_closing_interrupts(*, empty_log, new_model, monkeypatch, caplog):
    def never_ends(self, model, *, should_stop):
        deadline = time.monotonic() + 20
        while not should_stop():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise Interrupted

    monkeypatch.setattr(PersonalModel, "refresh", never_ends)
    before = time.monotonic()
    TunedPersonal(PersonalModel(empty_log), empty_log, new_model).close()
    assert time.monotonic() - before < 10
    assert not caplog.records


def test_a_failing_log_is_told_by_its_kind_only(*, empty_log, new_model, caplog, monkeypatch):
    def fail(self, model, **_):
        raise sqlite3.OperationalError(f"no room for {HABIT}")

    monkeypatch.setattr(PersonalModel, "refresh", fail)
    TunedPersonal(PersonalModel(empty_log), empty_log, new_model).close()
    assert "OperationalError" in caplog.text
    assert HABIT not in caplog.text
