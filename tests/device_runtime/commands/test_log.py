import json
import os
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from keyring.backends import fail
from memory_keyring import MemoryKeyring, keyring_in_use

from device_runtime.cli import device
from device_runtime.diary import Diary
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import Admission, TypingLog

SECRET = "xylophone quarrel"


@pytest.fixture
def run(tmp_path):
    """Runs a command of the log; gives what it printed if it ends as expected."""

    def run(*arguments, exit_code=0, **options):
        command = ["log", *map(str, arguments), "--data-dir", str(tmp_path)]
        result = CliRunner().invoke(device, command, **options)
        assert result.exit_code == exit_code, result.output
        return result.output

    return run


@pytest.fixture
def open_log(tmp_path):
    return lambda: TypingLog(tmp_path / "typing_log.sqlite")


@pytest.fixture
def filled(run, open_log):
    run("consent", "on")
    with open_log() as log:
        log.extend([(SECRET, "chat", log._clock() - 60), ("more words here", "mail", log._clock())])


def test_a_fresh_log_is_off_and_empty(run):
    lines = run("status").splitlines()
    assert lines[:4] == [
        "logging            off",
        "personal words     on",
        "messages held      0",
        "words held         0",
    ]
    assert "last trained on    never" in lines
    assert "sent               0 bytes" in lines


def test_status_tells_numbers_and_never_text(run, filled, tmp_path):
    with Diary(tmp_path / "diary.sqlite", clock=lambda: 1.7e9) as diary:
        diary.record(Event.TRAINED, numbers={"steps": 12})
        diary.record(Event.TRAINED)
        diary.record(Event.REPORTED, bytes_up=1_234_567, bytes_down=999)
    told = run("status")
    for line in (
        "logging            on",
        "messages held      2",
        "words held         5",
        "last trained on    2023-11-14 22:13 UTC, 2 times in all",
        "last reported      2023-11-14 22:13 UTC",
        "sent               1.2 MB",
        "received           999 bytes",
        "key kept in        file",
    ):
        assert line in told.splitlines()
    assert ", expires 20" in told
    assert "xylophone" not in told
    assert "chat" not in told


def test_status_in_json_has_the_same(run, filled, open_log):
    told = json.loads(run("status", "--json"))
    with open_log() as log:
        counts = log.counts()
    assert told["counts"] == counts._asdict()
    assert told["oldest_expires_at"] == counts.oldest_at + 60 * 24 * 3600
    assert told["switches"] == {
        "consent": True,
        "paused": False,
        "incognito": False,
        "personal": True,
        "deny_list": [],
    }
    assert told["totals"] == {
        "trained": 0,
        "reported": 0,
        "bytes_up": 0,
        "bytes_down": 0,
        "last_trained_at": None,
        "last_reported_at": None,
    }
    assert told["file_bytes"] > counts.bytes > 0
    assert (told["damaged_files"], told["key_place"]) == (0, "file")


@pytest.mark.parametrize(
    ("command", "told", "admission"),
    [
        (["consent", "off"], "Logging is off.", Admission.NO_CONSENT),
        (["pause"], "Logging is paused.", Admission.PAUSED),
        (["incognito", "on"], "Incognito is on.", Admission.INCOGNITO),
        (["deny", "Chat", "bank"], "Never logged: Chat, bank.", Admission.DENIED_APP),
    ],
)
def test_a_switch_holds_in_an_open_log(*, run, filled, open_log, command, told, admission):
    with open_log() as log:
        assert log.append("some words", "chat") is Admission.STORED
        assert run(*command) == f"{told}\n"
        assert log.append("some words", "chat") is admission
    assert "logging            on\n" not in run("status") or admission is Admission.DENIED_APP


@pytest.mark.parametrize(
    ("off", "on"),
    [(["pause"], ["resume"]), (["incognito", "on"], ["incognito", "off"]), (["deny", "chat"], ["allow", "CHAT"])],
)
def test_a_switch_can_be_turned_back(*, run, filled, open_log, off, on):
    run(*off)
    run(*on)
    with open_log() as log:
        assert log.append("some words", "chat") is Admission.STORED


def test_resuming_says_what_else_is_in_the_way(run):
    assert "consent on` switches it on." in run("resume")
    run("consent", "on")
    assert run("resume") == "Logging is not paused any more.\n"


def test_personal_words_have_one_switch(run, open_log):
    assert run("personal", "off") == "Personal words are off.\n"
    with open_log() as log:
        assert log.personal is False
    assert "personal words     off" in run("status")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["consent", "off"], "logging is off; `keychorus device log consent on`"),
        (["pause"], "logging is paused; `keychorus device log resume`"),
        (["incognito", "on"], "incognito is on; `keychorus device log incognito off`"),
        (["deny", "keychorus-log-add"], "keychorus-log-add is on the deny list; `keychorus device log allow"),
    ],
)
def test_adding_says_why_it_does_not(*, run, filled, command, told):
    run(*command)
    assert told in run("add", "-", input="some words\n", exit_code=1)


def test_messages_of_a_file_are_counted_not_shown(run, tmp_path, open_log):
    path = tmp_path / "messages.txt"
    path.write_bytes(b"some private words\n\n12\nmore \xff of them\0\n" + b"x" * 100_000)
    run("consent", "on")
    assert run("add", path) == "Logged 4 messages.\n"
    with open_log() as log:
        assert log.counts().messages == 4


def test_an_export_is_the_persons_own_data(run, filled, tmp_path):
    path = tmp_path / "mine.jsonl"
    assert run("export", "--output", path) == "Exported 2 messages.\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["text"], line["app"]) for line in lines] == [(SECRET, "chat"), ("more words here", "mail")]
    run("consent", "off")
    again = CliRunner().invoke(device, ["log", "export", "--data-dir", str(tmp_path)])
    assert again.stdout == path.read_text()


def test_an_export_goes_to_no_file_that_others_can_read(run, filled, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("before")
    path.chmod(0o644)
    assert "others could read: its mode must be 0600, got 0644" in run("export", "--output", path, exit_code=1)
    assert path.read_text() == "before"
    path.chmod(0o600)
    run("export", "--output", path)
    assert "xylophone" in path.read_text()


@pytest.mark.parametrize(("mode", "is_written"), [(0o644, False), (0o600, True)])
def test_nor_does_standard_output_when_it_is_one(*, filled, tmp_path, mode, is_written):
    path = tmp_path / "mine.jsonl"
    program = "from device_runtime.cli import device; device()"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "wb") as file:
        path.chmod(mode)
        command = [sys.executable, "-c", program, "log", "export", "--data-dir", str(tmp_path)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=False, text=True, timeout=60)
    assert (done.returncode == 0) is is_written
    assert ("xylophone" in path.read_text()) is is_written
    assert "xylophone" not in done.stderr


def test_a_wipe_is_asked_for_and_takes_waiting_updates_along(run, filled, tmp_path):
    spooled = tmp_path / "english" / "update.sealed"
    spooled.parent.mkdir()
    spooled.touch()
    run("wipe", exit_code=1)  # not confirmed
    assert spooled.exists()
    assert "messages held      2" in run("status")
    assert run("wipe", "--yes") == "Deleted 2 messages.\n"
    assert not spooled.exists()
    assert "messages held      0" in run("status")


def test_a_wipe_with_the_key_makes_a_new_one_at_the_next_start(run, filled, tmp_path):
    key = tmp_path / "typing_log.key"
    before = key.read_bytes()
    assert run("wipe", "--yes", "--with-key") == "Deleted 2 messages and the key.\n"
    assert not key.exists()
    assert "logging            on" in run("status")
    is_new = key.read_bytes() != before
    assert is_new


def test_a_key_that_is_refused_stands_in_the_way_of_no_wipe(run, filled, tmp_path):
    (tmp_path / "typing_log.key").chmod(0o644)
    assert "must have mode 0600" in run("status", exit_code=1)
    assert run("wipe", "--yes", "--with-key") == "Deleted 2 messages and the key.\n"
    assert "messages held      0" in run("status")


@pytest.mark.parametrize("by", ["option", "variable"])
def test_the_keyring_can_be_chosen(*, run, open_log, tmp_path, monkeypatch, by):
    monkeypatch.setenv("KEYCHORUS_KEY_STORE", "keyring" if by == "variable" else "")
    with keyring_in_use(MemoryKeyring()) as memory:
        run("consent", "on", *(["--key-store", "keyring"] if by == "option" else []))
        assert len(memory.kept) == 1
        run("add", "-", input="some words\n")
        assert "key kept in        keyring" in run("status")
        assert not (tmp_path / "typing_log.key").exists()
        assert "is in the key store `keyring`, got `file`" in run("status", "--key-store", "file", exit_code=1)
        run("wipe", "--yes", "--with-key")
        assert memory.kept == {}


def test_a_missing_keyring_is_one_sentence(run):
    with keyring_in_use(fail.Keyring()):
        told = run("consent", "on", "--key-store", "keyring", exit_code=1)
    assert told == "Error: the key store `keyring` needs a keyring service, got none; `file` needs nothing\n"


def test_a_damaged_database_is_set_aside_with_one_warning(run, tmp_path, caplog):
    (tmp_path / "typing_log.sqlite").write_bytes(b"no database" * 1000)
    told = run("status")
    assert "logging            off" in told
    assert "damaged            1 files are set aside" in told
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_every_command_has_help(run):
    for name in ("status", "export", "wipe", "pause", "resume", "consent", "add", "deny", "allow", "incognito"):
        assert "Usage:" in run(name, "--help")
