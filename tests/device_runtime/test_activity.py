import os
import time

import pytest

from device_runtime import activity
from device_runtime.activity import ACTIVITY_FILE, last_keystroke, note_keystroke


def test_the_last_keystroke_is_remembered_without_its_key(tmp_path):
    assert last_keystroke(tmp_path / "new") is None
    note_keystroke(tmp_path / "new")
    assert last_keystroke(tmp_path / "new") == pytest.approx(time.time(), abs=2)
    file = tmp_path / "new" / ACTIVITY_FILE
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"", 0o600)


def test_a_given_time_is_noted(tmp_path):
    note_keystroke(tmp_path, 1_700_000_000.0)
    assert last_keystroke(tmp_path) == 1_700_000_000.0


def test_fast_typing_touches_the_disk_rarely(tmp_path, monkeypatch):
    touched = []
    monkeypatch.setattr(os, "utime", lambda path, times: touched.append(path))
    now = [100.0]
    monkeypatch.setattr(activity.time, "monotonic", lambda: now[0])
    for _ in range(50):
        now[0] += 0.0625
        note_keystroke(tmp_path)
    assert len(touched) == 13  # 50 keystrokes in 3 s, four a second


def test_a_disk_that_refuses_does_not_stop_the_keyboard(tmp_path):
    (tmp_path / "file").touch()
    note_keystroke(tmp_path / "file", 1.0)
    with pytest.raises(NotADirectoryError):
        last_keystroke(tmp_path / "file")
