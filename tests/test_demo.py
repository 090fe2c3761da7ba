"""The whole loop, as a newcomer starts it: real service, real devices, real HTTP, a tiny model."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_runtime.releases.release import open_release, read_public_key

KEYCHORUS = Path(sys.executable).with_name("keychorus")
ROUNDS = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a minute or two, unless the machine has other work


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("scratch"))}
    ran = subprocess.run(
        [KEYCHORUS, "demo", "--quick", "--rounds", str(ROUNDS), "--folder", folder],
        env=environment, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    return folder, environment["TMPDIR"], ran.stdout


@pytest.fixture(scope="module")
def report(demo):
    return json.loads((demo[0] / "report.json").read_text())


def test_the_report_has_what_it_promises(report):
    for group in ("held_out", "devices"):
        for predictor in ("unigram", "pretrained", "federated"):
            accuracy = report["accuracy"][group][predictor]
            assert 0 < accuracy["top1"] <= accuracy["top3"] < 1
            assert 0 < accuracy["keystroke_savings"] < 1
            assert 1 < accuracy["perplexity"] <= 1000
    assert report["privacy"]["epsilon"] > 100, "a cohort of ten cannot be private with little noise"
    assert report["privacy"]["at_scale"]["epsilon"] < report["privacy"]["epsilon"]
    assert {"delta", "mechanism", "noise_multiplier"} <= set(report["privacy"])
    assert len(report["rounds"]) == ROUNDS
    assert report["fleet"]["devices"] == 100
    assert report["seed"] == 1
    assert "rounds" in report["seconds"]


def test_devices_sent_whole_updates_and_fetched_checkpoints_once_a_round(report):
    weights = report["model"]["parameters"]
    update = 12 / 8 * weights  # a value has 12 bits
    assert update < report["bytes"]["up_per_device_round"] < 1.25 * update
    base, difference, training_graph = 2 * weights, weights, 150_000
    assert difference < report["bytes"]["down_per_device_round"] < 1.1 * (base + difference + training_graph)


def test_nobody_saw_a_single_update(report):
    assert report["privacy"]["trust_mode"].startswith("central noise, secure aggregation")


def test_some_devices_vanished(report):
    missing = [round_["interrupted"] + round_["dropped"] for round_ in report["rounds"]]
    assert sum(missing) > 0
    assert sum(round_["interrupted"] for round_ in report["rounds"]) > 0


def test_training_changed_the_model(report):
    held_out = report["accuracy"]["held_out"]
    assert held_out["federated"]["perplexity"] < held_out["pretrained"]["perplexity"]
    for round_ in report["rounds"]:  # closed by the group that reached the goal, or at the deadline with the minimum
        assert 8 <= round_["reported"] <= round_["selected"]
        assert round_["selected"] <= 13


def test_the_page_stands_alone(demo):
    page = (demo[0] / "report.html").read_text()
    assert "<svg" in page
    assert "<script src" not in page
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses


def test_the_release_opens_and_suggests(demo):
    folder = demo[0] / "release"
    release = open_release(folder, read_public_key(folder / "public_key.txt"), population="english")
    assert release.manifest.model_version == ROUNDS
    suggestions = release.predictor().suggest("how are ")
    assert len(suggestions) == 3
    assert all(0 < suggestion.probability < 1 for suggestion in suggestions)
    assert json.loads(release.privacy_statement)["epsilon"] > 100


def test_nothing_is_left_behind(demo):
    _, scratch, output = demo
    assert not list(Path(scratch).glob("keychorus-*"))
    assert "keychorus device keyboard" in output.replace("\n", " ")
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if scratch.encode() in _environment(path)]


def test_what_is_searched_for_leftovers_would_show_them(demo):
    _, scratch, _ = demo
    sleeper = subprocess.Popen(["sleep", "60"], env={**os.environ, "TMPDIR": scratch})
    try:
        place = Path(f"/proc/{sleeper.pid}/environ")
        deadline = time.monotonic() + 10  # a process that began just now shows no environment yet
        while scratch.encode() not in _environment(place) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert scratch.encode() in _environment(place)
    finally:
        sleeper.kill()
        sleeper.wait()


def _environment(path):
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile, or not ours
        return b""
