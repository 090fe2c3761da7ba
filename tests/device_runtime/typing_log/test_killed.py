"""Writers that are killed at random moments lose at most the message that they were writing."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from device_runtime.typing_log import TypingLog

WRITER = """
import sys, time
from pathlib import Path
from device_runtime.typing_log import TypingLog
with TypingLog(Path(sys.argv[1]), max_bytes=int(sys.argv[2])) as log:
    log.consent = True
    print("ready", flush=True)
    while True:
        print(log.append("some words", "chat"), flush=True)
        time.sleep(0.001)  # SQLite lets others in by chance, so a writer without pause could keep them out for long
"""


def write_and_be_killed(path, after_s, *, writers=1, max_bytes=10**7):
    """Kills writers after a while; returns how many messages they were told to be stored."""
    command = [sys.executable, "-c", WRITER, str(path), str(max_bytes)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(writers)]
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        return sum(process.stdout.read().count("stored\n") for process in processes)


def is_sound(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("writers", [1, 2])
def test_everything_acknowledged_is_there_and_the_file_is_sound(tmp_path, caplog, writers):
    path = tmp_path / "log.sqlite"
    moments = random.Random(writers)
    acknowledged = 0
    for run in range(1, 6):
        acknowledged += write_and_be_killed(path, moments.uniform(0.0, 0.15), writers=writers)
        with TypingLog(path) as log:
            held = log.counts().messages
            assert acknowledged <= held <= acknowledged + run * writers
            assert len(log.messages(10**6)) == held
        assert is_sound(path)
    assert acknowledged > 0
    assert [record.message for record in caplog.records] == []


def test_a_log_at_its_size_survives_too(tmp_path, caplog):
    """Here each transaction deletes as well, so that more pages change."""
    path = tmp_path / "log.sqlite"
    for _ in range(2):
        write_and_be_killed(path, 0.25, max_bytes=1_000)
        with TypingLog(path, max_bytes=1_000) as log:
            counts = log.counts()
            assert 0 < counts.bytes <= 1_000
            assert len(log.messages(10**6)) == counts.messages
        assert is_sound(path)
    assert [record.message for record in caplog.records] == []
