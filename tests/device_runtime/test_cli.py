import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from device_runtime.cli import device
from device_runtime.releases.release import PUBLIC_KEY_FILE
from device_runtime.typing_log import TypingLog
from protocol.messages import ComeBack


def invoke(*arguments):
    return CliRunner().invoke(device, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["run"], ["keyboard"], ["log"], ["conditions"]])
def test_help_shows_examples(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n    keychorus device" in result.output


def test_run_trains_and_reports(*, tmp_path, service, messages, round_files, release_folder, caplog):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        for text in messages:
            log.append(text, "chat")
    service.offer(round_files)
    caplog.set_level("INFO", logger="device_runtime.daemon")
    result = invoke(
        *("run", "--service", service.base_url, "--population", "tests", "--always-eligible", "--steps", 5),
        *("--public-key", release_folder / PUBLIC_KEY_FILE, "--data-dir", tmp_path),
    )
    assert result.exit_code == 0, result.output
    told = [record.message.split()[0] for record in caplog.records if record.name == "device_runtime.daemon"]
    assert told == ["enrolled", "selected", "configured", "trained", "reported", "release_kept"]
    assert len(service.reports) == 1
    status = invoke("status", "--population", "tests", "--data-dir", tmp_path).output
    assert "rounds reported    1" in status
    assert "newest model       5" in status


def test_run_while_conditions_do_not_hold_asks_nobody(tmp_path, service, release_folder):
    (tmp_path / "never.csv").write_text("seconds,idle,charging,unmetered\n0,no,no,no\n")
    invoke("log", "consent", "on", "--data-dir", tmp_path)
    service.check_in_answer = ComeBack(reconnect_after_s=5.0, reason="no_task")
    result = invoke(
        *("run", "--service", service.base_url, "--population", "tests", "--steps", 1),
        *("--conditions", f"script:{tmp_path / 'never.csv'}"),
        *("--public-key", release_folder / PUBLIC_KEY_FILE, "--release", release_folder, "--data-dir", tmp_path),
    )
    assert result.exit_code == 0
    assert service.requests == []


@pytest.mark.parametrize(
    ("service_url", "key_file", "message"),
    [
        ("http://keys.example.org", None, "a service address must be https"),
        ("https://keys.example.org", "absent.txt", "must have a file"),
    ],
)
def test_run_refuses_in_one_sentence(tmp_path, release_folder, service_url, key_file, message):
    key = release_folder / PUBLIC_KEY_FILE if key_file is None else tmp_path / key_file
    result = invoke(
        *("run", "--service", service_url, "--population", "tests", "--steps", 1),
        *("--public-key", key, "--data-dir", tmp_path),
    )
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert len(result.output.splitlines()) == 1


def test_keyboard_without_a_release_says_how_to_get_one(tmp_path):
    result = invoke("keyboard", "--release", tmp_path / "none", "--no-open")
    assert result.exit_code == 1
    assert "keychorus demo" in result.output


def test_keyboard_serves_until_interrupted(release_folder):
    program = "from device_runtime.cli import device; device()"
    command = [sys.executable, "-c", program, "keyboard", "--no-open", "--release", str(release_folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline()).group()
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  (a loopback address)
            assert b"Keychorus" in answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert errors == "" or errors.startswith("INFO: ")  # what the TFLite runtime says at its start


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-delta", "1e-6"], "--max-delta goes with --max-epsilon: alone it bounds nothing"),
        (["--max-epsilon", "0"], "--max-epsilon must be > 0 and <= 1000, --max-delta > 0 and < 1, got 0 and 1e-06"),
        (["--max-epsilon", "nan"], "got nan and 1e-06"),
        (["--max-epsilon", "2", "--max-delta", "1"], "got 2 and 1"),
    ],
)
def test_an_owners_bound_that_is_none_is_refused(tmp_path, release_folder, options, message):
    result = invoke(
        *("run", "--service", "https://keys.example.org", "--population", "tests", "--steps", 1, *options),
        *("--public-key", release_folder / PUBLIC_KEY_FILE, "--data-dir", tmp_path),
    )
    assert result.exit_code == 2
    assert message in result.output


def test_run_refuses_rounds_that_promise_less_than_the_owner_asks_for(
    *, tmp_path, service, messages, round_files, release_folder, caplog
):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        log.append(messages[0], "chat")
    service.offer(round_files)
    caplog.set_level("INFO", logger="device_runtime.daemon")
    result = invoke(
        *("run", "--service", service.base_url, "--population", "tests", "--always-eligible", "--steps", 3),
        *("--public-key", release_folder / PUBLIC_KEY_FILE, "--data-dir", tmp_path, "--max-epsilon", "4"),
    )
    assert result.exit_code == 0, result.output
    [told] = [record.message for record in caplog.records if record.message.startswith("refused")]
    assert "this device's owner asks for ε <= 4 at δ <= 1e-06, the round promises nothing" in told
    assert service.reports == []
