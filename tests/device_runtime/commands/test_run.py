"""The daemon as a process of its own: signals, kill -9, and what is left afterwards."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from device_runtime.diary import Diary
from device_runtime.releases.release import PUBLIC_KEY_FILE
from device_runtime.rounds.agent_state import StateFile, Waiting
from device_runtime.typing_log import TypingLog

PROGRAM = "from device_runtime.cli import device; device()"


@pytest.fixture
def device(tmp_path, messages):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        log.extend([(text, "chat", time.time() - 60) for text in messages])
    return tmp_path


@pytest.fixture
def start(device, service, release_folder):
    """Starts the daemon; it is killed at the end of the test if it still runs."""
    started = []

    def start(*options):
        command = [sys.executable, "-c", PROGRAM, "run", "--service", service.base_url, "--population", "tests"]
        command += ["--public-key", str(release_folder / PUBLIC_KEY_FILE), "--data-dir", str(device), *options]
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_until(holds, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_in_mid_transfer(start, service, device, round_files, number):
    service.offer(round_files)
    service.override = lambda: time.sleep(5) if len(service.requests) > 2 else None  # downloads hang
    process = start("--conditions", "always")
    wait_until(lambda: len(service.requests) > 2)
    process.send_signal(number)
    began = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - began < 4  # a second on a quiet machine; the transfer hangs for five
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert type(StateFile(device / "tests" / "agent.json").load().phase).__name__ == "Assigned"


def test_a_signal_ends_a_sleeping_daemon(start, device):
    (device / "never.csv").write_text("seconds,idle,charging,unmetered\n0,no,no,no\n")
    process = start("--conditions", f"script:{device / 'never.csv'}")
    wait_until(lambda: "not_eligible" in process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=10)
    assert time.monotonic() - began < 8  # a second on a quiet machine; it sleeps for minutes
    assert process.returncode == 0


def test_rounds_go_on_however_often_the_daemon_is_killed(start, service, device, round_files):
    """kill -9 at random moments of downloads, training and upload, then an ordinary end."""
    generator = random.Random(5)
    service.reconnect_after_s = 0.0
    plan = round_files["plan"].replace(b'"local_epochs":1', b'"local_epochs":20').replace(b":0.5", b":0.01")
    service.offer(round_files | {"plan": plan})
    service.override = lambda: time.sleep(0.05)
    for _ in range(6):
        service.requests.clear()
        process = start("--conditions", "always")
        wait_until(lambda: service.requests)
        time.sleep(generator.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
        StateFile(device / "tests" / "agent.json").load()
        if service.reports:
            break
    process = start("--conditions", "always")
    wait_until(lambda: isinstance(StateFile(device / "tests" / "agent.json").load().phase, Waiting))
    process.terminate()
    process.communicate(timeout=10)
    assert len(set(service.reports)) == 1
    with Diary(device / "diary.sqlite") as diary:
        assert diary.totals().reported <= 1


TOKEN = "0123456789abcdef" * 4


@pytest.mark.parametrize("way", ["option", "file", "environment"])
def test_a_token_reaches_the_service_and_no_log(start, service, device, monkeypatch, way):
    (device / "token.txt").write_text(f"{TOKEN}\n")
    if way == "environment":
        monkeypatch.setenv("KEYCHORUS_ENROLMENT_TOKEN", TOKEN)
    options = {"option": ["--enrolment-token", TOKEN], "file": ["--enrolment-token-file", str(device / "token.txt")]}
    process = start("--conditions", "always", "--steps", "1", *options.get(way, []))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert [message.token for message in service.enrolments] == [TOKEN]
    assert "enrolled" in errors
    assert TOKEN not in errors
    assert StateFile(device / "tests" / "agent.json").load().enrolment == "enrolled"


def test_a_token_that_is_none_is_refused_before_anything_is_asked(start, service):
    process = start("--conditions", "always", "--steps", "1", "--enrolment-token", "my secret")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "an enrolment token must be 64 hexadecimal digits" in errors
    assert "my secret" not in errors
    assert service.requests == []


def test_an_owner_may_ask_for_secure_aggregation(start, service, device, round_files):
    service.offer(round_files)  # of a plan with plain reports
    process = start("--conditions", "always", "--steps", "3", "--require-secure-aggregation")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "refused (this device's owner asks for secure aggregation, the round has none)" in errors
    assert service.reports == []
