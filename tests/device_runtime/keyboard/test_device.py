import sqlite3

import pytest

from device_runtime.activity import last_keystroke
from device_runtime.keyboard.device import APP
from device_runtime.storage.files import UnusableKey
from device_runtime.typing_log import Admission, FieldKind

SENSITIVE = [kind for kind in FieldKind if kind is not FieldKind.TEXT]


def test_an_admitted_message_is_logged_and_learnt(keyboard, learner):
    keyboard.log.consent = True
    assert keyboard.send("see you tomorrow", FieldKind.TEXT) is Admission.STORED
    assert [(each.text, each.app) for each in keyboard.log.messages(100)] == [("see you tomorrow", APP)]
    assert learner.learnt == ["see you tomorrow"]


@pytest.mark.parametrize(
    ("change", "admission"),
    [
        ({}, Admission.STORED),
        ({"consent": False}, Admission.NO_CONSENT),
        ({"incognito": True}, Admission.INCOGNITO),
        ({"paused": True}, Admission.PAUSED),
        ({"deny_list": frozenset({APP})}, Admission.DENIED_APP),
    ],
)
def test_what_is_not_admitted_is_not_learnt_either(*, keyboard, learner, change, admission):
    keyboard.log.consent = True
    for name, value in change.items():
        setattr(keyboard.log, name, value)
    assert keyboard.send("see you tomorrow", FieldKind.TEXT) is admission
    assert keyboard.log.counts().messages == len(learner.learnt) == int(admission is Admission.STORED)


@pytest.mark.parametrize("kind", SENSITIVE)
def test_a_sensitive_field_is_neither_logged_nor_suggested_from(keyboard, learner, kind):
    keyboard.log.consent = True
    assert keyboard.send("see you tomorrow", kind) is Admission.SENSITIVE_FIELD
    assert keyboard.log.counts().messages == 0
    assert learner.learnt == []
    assert keyboard.suggest("see you tom", kind) == []


@pytest.mark.parametrize("kind", list(FieldKind))
def test_every_keystroke_is_noted_as_activity(keyboard, tmp_path, kind):
    assert last_keystroke(tmp_path) is None
    keyboard.suggest("see", kind)
    assert last_keystroke(tmp_path) is not None


@pytest.mark.parametrize("error", [sqlite3.OperationalError, OSError, UnusableKey])
def test_a_failing_personalisation_stops_nothing_and_tells_nothing(*, keyboard, learner, monkeypatch, caplog, error):
    def fail(text):
        raise error(f"cannot learn {text}")

    keyboard.log.consent = True
    monkeypatch.setattr(learner, "learn", fail)
    assert keyboard.send("xylophone", FieldKind.TEXT) is Admission.STORED
    assert error.__name__ in caplog.text
    assert "xylophone" not in caplog.text


def test_wiping_deletes_messages_and_waiting_updates(keyboard, tmp_path):
    keyboard.log.consent = True
    keyboard.send("see you tomorrow", FieldKind.TEXT)
    spooled = tmp_path / "english" / "update.sealed"
    spooled.parent.mkdir()
    spooled.touch()
    keyboard.wipe(with_key=False)
    assert keyboard.log.counts().messages == 0
    assert not spooled.exists()


def test_wiping_with_the_key_leaves_a_usable_log(keyboard, tmp_path):
    keyboard.log.consent = True
    key = tmp_path / "typing_log.key"
    keyboard.send("see you tomorrow", FieldKind.TEXT)
    before = key.read_bytes()
    keyboard.wipe(with_key=True)
    assert keyboard.log.counts().messages == 0
    keyboard.log.consent = True
    assert keyboard.send("good morning", FieldKind.TEXT) is Admission.STORED
    is_new = key.read_bytes() != before
    assert is_new
    assert [each.text for each in keyboard.log.messages(100)] == ["good morning"]
