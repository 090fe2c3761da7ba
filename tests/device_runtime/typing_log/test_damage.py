"""Files damaged in every way, also while a process has them open: one warning, a fresh log, no error."""

import os
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_runtime.storage.set_aside import MAX_SET_ASIDE
from device_runtime.typing_log import Admission, TypingLog

PAGE = 4096


def foreign(path):
    path.unlink()
    database = sqlite3.connect(path)
    database.executescript("CREATE TABLE messages (sender TEXT, body TEXT); INSERT INTO messages VALUES ('a', 'b');")
    database.close()


def overwrite(path, start, content):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


DAMAGES = {
    "no database": lambda path: path.write_bytes(b"no database" * 1000),
    "typed text": lambda path: path.write_bytes(b"xylophone quarrel " * 1000),
    "header": lambda path: overwrite(path, 0, b"\xff" * 100),
    "half a page": lambda path: os.truncate(path, PAGE // 2),
    "truncated": lambda path: os.truncate(path, 3 * PAGE),
    "another program's": foreign,
}
DAMAGES_WITHIN = {
    "pages of zeros": lambda path: overwrite(path, PAGE, bytes(8 * PAGE)),
    "pages of noise": lambda path: overwrite(path, PAGE, os.urandom(8 * PAGE)),
}
"""What a process does not see while it has the pages in memory."""


@pytest.fixture
def full_log(empty_log, clock):
    empty_log.extend([(f"xylophone quarrel {'word ' * 40}", "chat", clock.now - index) for index in range(200)])
    return empty_log


@pytest.mark.parametrize(
    ("damage", "is_open"),
    [
        *(pytest.param(damage, True, id=f"{name}, open") for name, damage in DAMAGES.items()),
        *(pytest.param(damage, False, id=f"{name}, closed") for name, damage in (DAMAGES | DAMAGES_WITHIN).items()),
    ],
)
def test_a_damaged_file_is_set_aside_and_a_fresh_log_begins(*, raw, full_log, open_log, caplog, clock, damage, is_open):
    if not is_open:
        full_log.close()
    damage(raw.path)
    damaged = raw.path.read_bytes()
    log = full_log if is_open else open_log()
    assert log.append("new words", "chat") is Admission.NO_CONSENT
    assert log.messages(10) == []
    assert log.counts().messages == 0
    aside = raw.folder / f"log.sqlite.damaged-{int(clock.now)}"
    is_kept = aside.read_bytes() == damaged
    assert is_kept
    assert log.files_set_aside() == [aside]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged and was set aside as" in caplog.text
    assert "logging off" in caplog.text
    assert "xylophone" not in caplog.text
    log.consent = True
    assert log.append("new words", "chat") is Admission.STORED
    assert [message.text for message in log.messages(10)] == ["new words"]


@pytest.mark.parametrize("damage", DAMAGES_WITHIN.values(), ids=DAMAGES_WITHIN)
def test_damage_that_an_open_log_does_not_see_is_found_when_it_is_opened_again(*, raw, full_log, open_log, damage):
    damage(raw.path)
    full_log.append("new words", "chat")
    full_log.messages(10)
    full_log.close()
    log = open_log()
    assert len(log.files_set_aside()) == 1
    assert log.consent is False


@pytest.mark.parametrize(
    "use",
    [
        lambda log: log.consent,
        lambda log: setattr(log, "paused", True),
        lambda log: log.append("new words", "chat"),
        lambda log: log.extend([("new words", "chat", 1.7e9)]),
        lambda log: log.messages(10),
        lambda log: list(log.export()),
        lambda log: log.counts(),
        lambda log: log.expire(),
        lambda log: log.wipe(),
        lambda log: log.sealed.get("cache"),
        lambda log: log.sealed.put("cache", b"1"),
    ],
    ids=["consent", "switch", "append", "extend", "messages", "export", "counts", "expire", "wipe", "get", "put"],
)
def test_whoever_meets_the_damage_first_goes_on(raw, full_log, use):
    overwrite(raw.path, 0, b"\xff" * 100)
    use(full_log)
    assert full_log.counts().messages == 0
    assert full_log.consent is False


def test_a_file_that_was_emptied_begins_anew(raw, full_log):
    os.truncate(raw.path, 0)
    assert full_log.append("new words", "chat") is Admission.NO_CONSENT
    full_log.consent = True
    assert full_log.append("new words", "chat") is Admission.STORED


def test_a_file_that_was_deleted_begins_anew(raw, full_log):
    raw.path.unlink()
    assert full_log.consent is False
    full_log.consent = True
    assert full_log.append("new words", "chat") is Admission.STORED
    assert len(raw.sealed()) == 1


def test_all_processes_move_to_the_fresh_log_and_one_sets_it_aside(raw, full_log, open_log, caplog):
    others = [open_log() for _ in range(3)]
    overwrite(raw.path, 0, b"\xff" * 100)
    others[0].consent = True
    for log in (full_log, *others):
        assert log.append("new words", "chat") is Admission.STORED
    assert [log.counts().messages for log in (full_log, *others)] == [4] * 4
    assert len(caplog.records) == len(full_log.files_set_aside()) == 1


def test_a_left_journal_is_not_played_into_the_fresh_log(raw, full_log):
    overwrite(raw.path, 0, b"\xff" * 100)
    journal = raw.folder / "log.sqlite-journal"
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(2000))
    assert full_log.counts().messages == 0
    assert not journal.exists()


def test_few_damaged_files_are_kept_and_not_for_ever(raw, full_log, clock):
    stamps = []
    for _ in range(MAX_SET_ASIDE + 2):
        overwrite(raw.path, 0, b"\xff" * 100)
        stamps.append(int(clock.now))
        full_log.counts()
        clock.now += 60
    kept = [f"log.sqlite.damaged-{stamp}" for stamp in stamps[-MAX_SET_ASIDE:]]
    assert [path.name for path in full_log.files_set_aside()] == kept
    clock.now += full_log.retention_s - 60
    full_log.counts()
    assert [path.name for path in full_log.files_set_aside()] == kept[-1:]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.floats(0, 1), content=st.binary(min_size=1, max_size=3000))
def test_no_damage_raises_anything(tmp_path_factory, start, content):
    path = tmp_path_factory.getbasetemp() / "damaged.sqlite"
    with TypingLog(path) as log:
        log.wipe()
        log.consent = True
        log.extend([(f"message {'word ' * 30}", "chat", 1.7e9 + index) for index in range(60)])
        overwrite(path, int(start * path.stat().st_size), content)
        log.consent = True
        assert log.append("new words", "chat") is Admission.STORED
        assert log.messages(10**6)[-1].text == "new words"
    with TypingLog(path) as log:
        assert log.append("more words", "chat") in (Admission.STORED, Admission.NO_CONSENT)
