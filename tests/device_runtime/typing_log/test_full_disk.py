"""Disks that are really full: a limit on the pages of SQLite, and a limit on the size of files."""

import sqlite3
import subprocess
import sys

import pytest

from device_runtime.storage.sqlite_file import SqliteFile
from device_runtime.typing_log import Admission, TypingLog

NOISE = "qwrtp sdfgh klzxc vbnm " * 40


def set_room(log, pages):
    """As many pages as there are plus `pages` more; none less than there are."""
    log._vault.file.read(
        lambda each: each.execute(
            f"PRAGMA max_page_count = {each.execute('PRAGMA page_count').fetchone()[0] + pages}"
        ).fetchone()
    )


def fill(log):
    """Appends until the log says why it stops."""
    stored = 0
    while (admission := log.append(f"{NOISE} w{'x' * (stored % 7)}", "chat")) is Admission.STORED:
        stored += 1
        assert stored < 10_000
    return stored, admission


def test_a_full_disk_stops_logging_and_it_recovers(empty_log, caplog):
    set_room(empty_log, 20)
    stored, admission = fill(empty_log)
    assert stored > 10
    assert admission is Admission.DISK_FULL
    assert empty_log.append(NOISE, "chat") is Admission.DISK_FULL
    assert [record.levelname for record in caplog.records] == ["WARNING"], "one warning, not one a message"
    assert "nothing is logged: disk_full" in caplog.text
    assert empty_log.counts().messages == len(empty_log.messages(10**6)) == stored
    assert empty_log.consent
    set_room(empty_log, 1_000)
    assert empty_log.append(NOISE, "chat") is Admission.STORED
    assert caplog.messages[-1] == "the typing log can be written again"
    assert empty_log.counts().messages == stored + 1


def test_many_at_once_are_stored_all_or_none(empty_log):
    set_room(empty_log, 20)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        empty_log.extend([(NOISE, "chat", 1.7e9)] * 1_000)
    assert empty_log.counts().messages == 0


def test_a_wipe_makes_room(empty_log):
    set_room(empty_log, 20)
    fill(empty_log)
    empty_log.wipe()
    assert empty_log.append("some words", "chat") is Admission.STORED


def test_a_log_that_cannot_begin_says_so_and_stops_nothing(tmp_path, monkeypatch, caplog):
    prepare = SqliteFile._prepare

    def prepare_without_room(self, connection):
        connection.execute("PRAGMA max_page_count = 1").fetchone()
        prepare(self, connection)

    monkeypatch.setattr(SqliteFile, "_prepare", prepare_without_room)
    with TypingLog(tmp_path / "log.sqlite") as log:
        assert not log.consent
        assert log.counts().messages == 0
        assert log.append("some words", "chat") is Admission.NO_CONSENT
        assert log.messages(10) == []
        with pytest.raises(sqlite3.OperationalError, match="full"):
            log.consent = True
        monkeypatch.undo()
        log.consent = True
        assert log.append("some words", "chat") is Admission.STORED
    assert len(caplog.records) <= 2


PROGRAM = """
import resource, sys
from pathlib import Path
from device_runtime.typing_log import TypingLog
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
with TypingLog(Path(sys.argv[1])) as log:
    log.consent = True
    limit(200_000)
    told = [log.append(sys.argv[2], "chat").value for _ in range(400)]
    print(told.count("stored"), *sorted(set(told)), log.counts().messages, len(log.messages(10**6)))
    limit(resource.RLIM_INFINITY)
    print(log.append("some words", "chat").value)
"""


def test_a_limit_of_the_system_is_a_full_disk_too(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "log.sqlite"), NOISE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    stored, *told, counted, opened = done.stdout.splitlines()[0].split()
    assert told == ["disk_full", "stored"]
    assert int(stored) == int(counted) == int(opened) > 50
    assert done.stdout.splitlines()[1] == "stored"
    assert done.stderr.count("disk_full") == 1
    assert "qwrtp" not in done.stderr
