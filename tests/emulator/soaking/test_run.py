"""A small soak, from first device to report, on both databases; and one that is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from emulator.soaking.processes import MARK
from emulator.soaking.run import run_soak
from emulator.soaking.settings import SoakSettings
from evaluation.soak.outcome import decode_soak_report

pytestmark = pytest.mark.slow  # services that are killed and start again, with TensorFlow before them

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_small_soak_loses_nothing(database, tmp_path):
    told = []
    settings = SoakSettings(devices=12, rounds=6, seed=3, database=database)
    soaked = run_soak(settings, tmp_path, num_workers=1, progress=lambda *counts: told.append(counts))
    report = decode_soak_report(soaked.json_path.read_bytes())
    assert report.failures == []
    assert {check.name for check in report.checks} == {
        "rounds", "sums", "acknowledged updates", "ledger", "devices", "memory", "processes",
    }  # fmt: skip
    closed = [each for each in report.rounds if not each.because]
    assert report.closed == len(closed) >= 6
    assert all(each.counted >= 2 and each.off <= 1 < each.least_update for each in closed)
    assert sum(report.faults.values()) > 0
    assert sum(report.kills.values()) > 0
    assert told == sorted(told)
    assert told[-1][0] == report.closed
    assert "Every check held" in soaked.html_path.read_text()
    assert not (tmp_path / "world").exists()


def test_ctrl_c_ends_everything_within_seconds(tmp_path):
    command = [sys.executable, "-c", "from keychorus.cli import main; main()", "emulate", "soak", "--devices", "8"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("world/devices/0000/*/english/agent.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (mark,) = {_mark(child) for child in psutil.Process(process.pid).children()} - {None}
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 5 + 3  # on a machine that has other things to do
    assert process.returncode == 130
    assert b"begins anew" in output
    assert b"Traceback" not in output
    assert [each.pid for each in psutil.process_iter() if _mark(each) == mark] == []


def _mark(process):
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
