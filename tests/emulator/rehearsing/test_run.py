"""A scenario from first device to report, by the real runtime and service: twice the same, and stopped halfway."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from emulator.rehearsing.run import Options, run_scenario
from emulator.rehearsing.saved import STATE_FILE, OtherRehearsal
from emulator.scenarios.reading import load_scenario
from evaluation.fleet.outcome import decode_fleet_report

pytestmark = pytest.mark.slow  # a service and devices that live through hours, with TensorFlow before them

ROOT = Path(__file__).parents[3]
SCENARIO = """
about = "A few devices for a few hours, a release, and a service that dies."
days = 0.16
devices = 8
[model]
pretraining_epochs = 1
[[populations]]
corpus = "made-up:en"
[task]
report_goal = 4
minimum_reports = 3
minimum_separation_h = 1
selection_timeout_h = 0.5
noise_multiplier = 0.05
[traces]
nights_charged = 1.0
[[adversaries]]
kind = "violating"
share = 0.1
[[events]]
at_h = 0
do = "release"
[[events]]
at_h = 2
do = "kill-service"
down_h = 0.2
"""


@pytest.fixture(scope="module")
def scenario_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "short.toml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="module")
def lived(scenario_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lived")
    told = []
    options = Options(name="short", folder=folder, num_workers=1)
    run = run_scenario(load_scenario(scenario_path), options, lambda days, rounds: told.append((days, rounds)))
    return run, told, folder


def test_a_scenario_ends_in_a_report_that_adds_up(lived):
    run, told, folder = lived
    report = run.report
    assert decode_fleet_report(run.json_path.read_bytes()) == report
    closed = [each for each in report.rounds if each.phase == "closed"]
    assert closed
    assert all(each.reported >= 3 and 0 <= each.top1 <= 1 and each.duration_h > 0 for each in closed)
    assert sum(each.reported for each in report.rounds) == report.events["reported"]
    assert report.events["selected"] == sum(each.selected for each in report.rounds)
    open_still = report.events["selected"] - report.events["reported"] - sum(each.devices for each in report.drop_outs)
    assert 0 <= open_still <= 8
    assert report.events["release_adopted"] > 0
    assert report.live[0].messages > 0
    assert [each.kind for each in report.adversaries] == ["honest", "violating"]
    assert report.adversaries[1].reported == 0
    assert len(report.happened) == 2
    assert report.populations[0].epsilon > 0
    assert [days for days, _ in told] == sorted(days for days, _ in told)
    assert told[-1][1] == len(closed)
    assert not (folder / "world").exists()


def test_the_page_asks_for_nothing_from_outside(lived):
    page = lived[0].html_path.read_text()
    assert "Recall by round" in page
    assert "src=" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_same_seed_gives_the_same_report_to_the_bit(lived, scenario_path, tmp_path):
    again = run_scenario(load_scenario(scenario_path), Options(name="short", folder=tmp_path, num_workers=2))
    assert again.json_path.read_bytes() == lived[0].json_path.read_bytes()
    assert again.html_path.read_bytes() == lived[0].html_path.read_bytes()
    timings = json.loads((tmp_path / "timings.json").read_bytes())
    assert timings["device_cpu_s"] > 0


def test_ctrl_c_ends_everything_and_the_rest_is_lived_later(scenario_path, tmp_path):
    command = [sys.executable, "-c", "from keychorus.cli import main; main()", "emulate", "run", str(scenario_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("world/devices/0000/*/english/agent.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # docs/emulator.md says how long it takes
    assert process.returncode == 130
    assert b"goes on from here" in output
    assert b"Traceback" not in output
    assert (tmp_path / STATE_FILE).exists()
    assert not _processes_in(tmp_path)
    other = msgspec.structs.replace(load_scenario(scenario_path), seed=9)
    with pytest.raises(OtherRehearsal, match="same scenario, devices, days and seed"):
        run_scenario(other, Options(name="short", folder=tmp_path, num_workers=1))
    rest = run_scenario(load_scenario(scenario_path), Options(name="short", folder=tmp_path, num_workers=1))
    assert rest.report.events["reported"] > 0
    assert not (tmp_path / STATE_FILE).exists()


def _processes_in(folder):
    """Processes whose environment or command line names `folder`: the service's does."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told and int(path.name) != os.getpid():
            found.append(path.name)
    return found
