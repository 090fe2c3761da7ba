import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.typing_log import DEFAULT_RETENTION_S, TypingLog

SECRET = "xylophone quarrel"


@pytest.fixture
def empty_log(tmp_path, clock):
    with TypingLog(tmp_path / "log.sqlite", clock=clock) as log:
        yield log


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_nothing_is_stored_without_consent(empty_log):
    assert not empty_log.consent
    assert not empty_log.append(SECRET, "chat")
    assert empty_log.counts() == (0, 0, None)


def test_consent_survives_restarts_and_can_be_taken_back(tmp_path, clock):
    with TypingLog(tmp_path / "log.sqlite", clock=clock) as log:
        log.consent = True
        assert log.append("hello there", "chat")
    with TypingLog(tmp_path / "log.sqlite", clock=clock) as log:
        assert log.consent
        log.consent = False
        assert not log.append("hello again", "chat")
        assert log.messages(100) == []
        assert log.counts().messages == 1


def test_text_and_app_are_unreadable_without_the_key(tmp_path, clock):
    with TypingLog(tmp_path / "log.sqlite", clock=clock) as log:
        log.consent = True
        log.append(SECRET, "secret-app")
        assert log.messages(10)[0].text == SECRET
        for word in (b"xylophone", b"quarrel", b"secret-app"):
            assert word not in everything_on_disk(tmp_path)
    (tmp_path / "log.key").unlink()
    with TypingLog(tmp_path / "log.sqlite", clock=clock) as log:
        assert log.messages(10) == []


def test_files_are_private(tmp_path, empty_log):
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_key_can_lie_elsewhere(tmp_path, clock):
    with TypingLog(tmp_path / "data" / "log.sqlite", tmp_path / "keys" / "log.key", clock=clock):
        pass
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["log.sqlite"]
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["log.key"]


def test_a_row_cannot_be_given_another_time(tmp_path, empty_log):
    empty_log.consent = True
    empty_log.append("hello there", "chat")
    with sqlite3.connect(tmp_path / "log.sqlite") as database:
        database.execute("UPDATE messages SET at = at + 1000")
    database.close()
    assert empty_log.messages(10) == []


def test_newest_words_come_oldest_first(empty_log, clock):
    empty_log.consent = True
    texts = ["one", "two words", "three more words", "and four more words"]
    empty_log.extend([(text, "chat", clock.now + index) for index, text in enumerate(texts)])
    assert [message.text for message in empty_log.messages(100)] == texts
    assert [message.text for message in empty_log.messages(7)] == texts[2:]
    assert [message.text for message in empty_log.messages(6)] == texts[3:]
    assert empty_log.messages(3) == []


@given(lengths=st.lists(st.integers(1, 6), max_size=12), max_words=st.integers(0, 40))
def test_cap_is_the_longest_suffix_that_fits(tmp_path_factory, lengths, max_words):
    path = tmp_path_factory.getbasetemp() / "cap.sqlite"
    with TypingLog(path, clock=lambda: 1_000.0) as log:
        log.wipe()
        log.consent = True
        log.extend([("word " * length, "chat", float(index)) for index, length in enumerate(lengths)])
        kept = [len(message.text.split()) for message in log.messages(max_words)]
    expected = next(lengths[i:] for i in range(len(lengths) + 1) if sum(lengths[i:]) <= max_words)
    assert kept == expected


def test_a_damaged_row_is_deleted_and_the_rest_still_serves(tmp_path, empty_log, clock):
    empty_log.consent = True
    now = clock()
    empty_log.extend([("one word", "app", now - 10), ("two words", "app", now)])
    with sqlite3.connect(tmp_path / "log.sqlite") as database:
        database.execute("UPDATE messages SET sealed = x'00' WHERE at < ?", (now,))
    database.close()
    assert [message.at for message in empty_log.messages(100)] == [now]
    assert empty_log.counts().messages == 1


def test_expiry_runs_by_itself(empty_log, clock):
    empty_log.consent = True
    empty_log.append("old words", "chat")
    clock.now += DEFAULT_RETENTION_S + 1
    assert empty_log.messages(10) == []
    empty_log.append("new words", "chat")
    assert empty_log.counts().messages == 1


def test_what_a_clock_that_was_ahead_stamped_expires(empty_log, clock):
    empty_log.consent = True
    day = 24 * 3600.0
    empty_log.extend([("words ahead", "chat", clock.now + day + 1), ("other words", "chat", clock.now + day - 1)])
    assert [message.text for message in empty_log.messages(10)] == ["other words"]


def test_a_clock_that_was_never_set_empties_nothing(empty_log, clock):
    empty_log.consent = True
    empty_log.append("some words", "chat")
    clock.now = 0.0
    assert empty_log.counts().messages == 1


def test_wipe_leaves_nothing_and_keeps_consent(tmp_path, empty_log):
    empty_log.consent = True
    empty_log.extend([(f"{SECRET} again", "chat", float(10**9 + index)) for index in range(200)])
    empty_log.append("another", "chat")
    full = (tmp_path / "log.sqlite").stat().st_size
    empty_log.wipe()
    assert empty_log.counts() == (0, 0, None)
    assert empty_log.consent
    assert (tmp_path / "log.sqlite").stat().st_size <= full


def test_wiped_rows_are_gone_from_the_file(tmp_path, empty_log):
    empty_log.consent = True
    empty_log.append(SECRET, "chat")
    with sqlite3.connect(tmp_path / "log.sqlite") as database:
        sealed = database.execute("SELECT sealed FROM messages").fetchone()[0]
    database.close()
    assert sealed in everything_on_disk(tmp_path)
    empty_log.wipe()
    assert sealed not in everything_on_disk(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467", "...", "\0"],
    ids=["empty", "space", "emoji", "marks", "nul"],
)
def test_messages_without_a_word_are_left_out(empty_log, text):
    empty_log.consent = True
    assert not empty_log.append(text, "chat")


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "שלום עולם", "nul\0inside", "lone \ud800 surrogate", "family \U0001f468\u200d\U0001f469"],
    ids=["long", "right-to-left", "nul", "surrogate", "emoji"],
)
def test_odd_text_is_stored(empty_log, text):
    empty_log.consent = True
    assert empty_log.append(text, "chat")
    assert len(empty_log.messages(10)) == 1


def test_numbers_are_scrubbed_before_storing(empty_log):
    empty_log.consent = True
    empty_log.append("my pin is 123456", "chat")
    assert "123456" not in empty_log.messages(10)[0].text


def test_a_representation_never_shows_text(empty_log):
    empty_log.consent = True
    empty_log.append(SECRET, "chat")
    assert "xylophone" not in repr(empty_log.messages(10))


def test_a_killed_writer_loses_at_most_its_last_message(tmp_path):
    path = tmp_path / "log.sqlite"
    program = (
        "import sys; from pathlib import Path; from device_runtime.typing_log import TypingLog\n"
        "log = TypingLog(Path(sys.argv[1])); log.consent = True\n"
        "while True:\n"
        "    log.append('some words', 'chat'); print('x', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        acknowledged = sum(1 for _ in zip(range(20), process.stdout, strict=False))
        os.kill(process.pid, 9)
        acknowledged += len(process.stdout.readlines())
    with TypingLog(path) as log:
        assert acknowledged <= log.counts().messages <= acknowledged + 1
        assert len(log.messages(10**6)) == log.counts().messages
