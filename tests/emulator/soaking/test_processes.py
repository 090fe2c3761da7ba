"""Processes by their mark: found, measured, and ended with all that descend from them."""

import os
import subprocess
import time

from emulator.soaking.processes import MARK, end_left_over, kill_family, left_over, marked, residents, wait_for_end
from evaluation.workers import Workers

FAMILY = ["/bin/sh", "-c", "sleep 60 & sleep 60 & wait"]


def wait_until(holds):
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def test_a_mark_is_inherited_and_gone_afterwards():
    with marked(KEYCHORUS_SOAK_TEST="x") as mark:
        process = subprocess.Popen(FAMILY)
        wait_until(lambda: len(left_over(mark)) == 3)
        assert left_over("another") == []
        end_left_over(mark)
        assert left_over(mark) == []
        process.wait()
        assert wait_for_end(mark) == []
        assert os.environ["KEYCHORUS_SOAK_TEST"] == "x"
    assert MARK not in os.environ
    assert "KEYCHORUS_SOAK_TEST" not in os.environ


def test_what_does_not_end_is_named(monkeypatch):
    monkeypatch.setattr("emulator.soaking.processes._ENDS_WITHIN_S", 0.1)
    with marked() as mark:
        process = subprocess.Popen(["sleep", "60"])
        wait_until(lambda: wait_for_end(mark) == ["sleep"])
        process.kill()
        process.wait()


def test_a_family_is_killed_whole():
    with marked() as mark:
        process = subprocess.Popen(FAMILY)
        wait_until(lambda: len(left_over(mark)) == 3)
        sizes = [each for each in residents(process.pid, speakers=1) if each.role == "service"]
        assert len(sizes) == 3
        assert all(each.kilobytes > 100 for each in sizes)
        kill_family(process.pid)
        process.wait()
        assert left_over(mark) == []
        kill_family(process.pid)  # nobody, and no error


def test_those_that_speak_were_started_first():
    with Workers(1) as speaker, Workers(2) as trainers:
        expected = {speaker.submit(os.getpid).result(): "speakers"}
        found = {each.pid: each.role for each in residents(None, speakers=1)}
        trained = {trainers.submit(os.getpid).result() for _ in range(3)}
    assert found.items() >= expected.items()
    assert {found[pid] for pid in trained} == {"trainers"}
    assert "service" not in found.values()
