"""A side is a process that answers; one that does not is told with its own words, and none is left behind."""

import sys
import time

import pytest

from emulator.bench.answering import Round
from emulator.bench.side import SideFailed, running_side

PROGRAM = """
import os, pathlib, subprocess, sys
from emulator.bench.answering import Asked, Round
asked = Asked()
print("noise that is no answer", flush=True)
pathlib.Path("started").write_text(str(subprocess.Popen(["sleep", "100"]).pid))
for number in range(int(sys.argv[1])):
    if asked.again():
        asked.answer(Round(seconds=30.0, steps=number, update_norm=1.5))
print("one last word", file=sys.stderr)
"""


def side(folder, answers, devices=4):
    return running_side("ours", [sys.executable, "-c", PROGRAM, str(answers)], folder, devices=devices)


def test_rounds_are_answered_one_by_one_and_counted_by_the_minute(tmp_path):
    with side(tmp_path, 3) as running:
        assert [running.run(), running.run()] == [8.0, 8.0]
        assert running.last == Round(seconds=30.0, steps=1, update_norm=1.5)
    assert "noise that is no answer" in (tmp_path / "ours.log").read_text()


def test_what_a_side_started_ends_with_it(tmp_path):
    with side(tmp_path, 1) as running:
        running.run()
        child = int((tmp_path / "started").read_text())
    deadline = time.monotonic() + 5
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def test_a_side_that_ends_too_soon_is_told_with_the_end_of_its_log(tmp_path):
    with side(tmp_path, 0) as running, pytest.raises(SideFailed, match=r"ours must answer, it did not(.|\n)*last word"):
        running.run()


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
