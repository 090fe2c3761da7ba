import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from device_runtime.cli import device
from device_runtime.release import PUBLIC_KEY_FILE
from device_runtime.typing_log import TypingLog
from protocol.messages import ComeBack


def invoke(*arguments):
    return CliRunner().invoke(device, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["run"], ["keyboard"], ["log"]])
def test_help_shows_examples(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n    keychorus device" in result.output


def test_log_commands(tmp_path):
    assert "logging            off" in invoke("log", "status", "--data-dir", tmp_path).output
    assert invoke("log", "consent", "on", "--data-dir", tmp_path).output == "Logging is on.\n"
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.append("some private words", "chat")
    result = invoke("log", "status", "--data-dir", tmp_path)
    assert "messages held      1" in result.output
    assert "words held         3" in result.output
    assert "private" not in result.output
    spooled = tmp_path / "english" / "update.sealed"
    spooled.parent.mkdir()
    spooled.touch()
    assert invoke("log", "wipe", "--data-dir", tmp_path).exit_code == 1  # not confirmed
    assert spooled.exists()
    assert invoke("log", "wipe", "--yes", "--data-dir", tmp_path).output == "Deleted 1 messages.\n"
    assert not spooled.exists()


def test_messages_of_a_file_are_logged_with_consent_only(tmp_path):
    path = tmp_path / "messages.txt"
    path.write_text("some private words\n\n12\nmore of them\n")
    refused = invoke("log", "add", path, "--data-dir", tmp_path)
    assert refused.exit_code == 1
    assert "logging is off" in refused.output
    invoke("log", "consent", "on", "--data-dir", tmp_path)
    assert invoke("log", "add", path, "--data-dir", tmp_path).output == "Logged 3 messages.\n"


def test_messages_of_standard_input_are_counted_not_shown(tmp_path):
    invoke("log", "consent", "on", "--data-dir", tmp_path)
    result = CliRunner().invoke(device, ["log", "add", "-", "--data-dir", str(tmp_path)], input="some private words\n")
    assert result.output == "Logged 1 messages.\n"


def test_a_damaged_database_is_told_in_one_sentence(tmp_path):
    (tmp_path / "typing_log.sqlite").write_bytes(b"no database" * 1000)
    result = invoke("log", "status", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert result.output == "Error: file is not a database\n"


def test_run_trains_and_reports(*, tmp_path, service, messages, round_files, release_folder, caplog):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        for text in messages:
            log.append(text, "chat")
    service.offer(round_files)
    caplog.set_level("INFO", logger="device_runtime.commands.run")
    result = invoke(
        *("run", "--service", service.base_url, "--population", "tests", "--always-eligible", "--steps", 4),
        *("--public-key", release_folder / PUBLIC_KEY_FILE, "--data-dir", tmp_path),
    )
    assert result.exit_code == 0, result.output
    told = [message.split()[0] for message in caplog.messages]
    assert told == ["selected", "configured", "trained", "reported"]
    assert len(service.reports) == 1
    status = invoke("status", "--population", "tests", "--data-dir", tmp_path).output
    assert "rounds reported    1" in status
    assert "newest model       5" in status


def test_run_without_known_conditions_asks_nobody(tmp_path, service, release_folder):
    invoke("log", "consent", "on", "--data-dir", tmp_path)
    service.check_in_answer = ComeBack(reconnect_after_s=5.0, reason="no_task")
    result = invoke(
        *("run", "--service", service.base_url, "--population", "tests", "--steps", 1),
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
