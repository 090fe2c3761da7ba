"""Keys that are lost, replaced, moved and wiped; wiping that leaves nothing."""

import sqlite3

import pytest
from keyring.backends import fail
from memory_keyring import MemoryKeyring, keyring_in_use

from device_runtime.storage.files import UnusableKey
from device_runtime.storage.keys import FileKeyStore, KeyPlace, key_store
from device_runtime.typing_log import Admission, vault


@pytest.fixture
def memory_keyring():
    with keyring_in_use(MemoryKeyring()) as memory:
        yield memory


@pytest.fixture
def full_log(empty_log, clock):
    """A log of a few hundred kilobytes, so of many pages."""
    empty_log.extend([(f"xylophone quarrel {'word ' * 40}", "chat", clock.now - index) for index in range(1_000)])
    empty_log.sealed.put("cache", b"xylophone" * 10_000)
    return empty_log


def traces(sealed, content):
    """How many pieces of the sealed rows are in `content`."""
    return sum(each[start : start + 16] in content for each in sealed for start in range(0, len(each) - 16, 64))


def test_a_lost_key_costs_the_messages_and_nothing_else(raw, empty_log, open_log, caplog):
    empty_log.extend([("some words", "chat", 1.7e9), ("other words", "chat", 1.7e9)])
    empty_log.close()
    (raw.folder / "log.key").unlink()
    log = open_log()
    assert "2 messages are unreadable and were deleted" in caplog.text
    assert (log.counts().messages, log.counts().unreadable) == (0, 2)
    assert log.consent
    assert log.append("new words", "chat") is Admission.STORED
    assert [message.text for message in log.messages(10)] == ["new words"]
    log.wipe()
    assert log.counts().unreadable == 0


@pytest.mark.parametrize("content", [b"", b"short", bytes(99)])
def test_a_damaged_key_is_set_aside_and_the_log_goes_on(*, raw, empty_log, open_log, caplog, content):
    empty_log.append("some words", "chat")
    empty_log.close()
    (raw.folder / "log.key").write_bytes(content)
    log = open_log()
    assert "log.key is damaged and was set aside as log.key.damaged" in caplog.text
    assert log.counts().unreadable == 1
    assert log.append("new words", "chat") is Admission.STORED


def test_a_key_that_others_may_read_is_refused_and_costs_nothing(raw, empty_log, open_log):
    empty_log.append("some words", "chat")
    empty_log.close()
    (raw.folder / "log.key").chmod(0o644)
    with pytest.raises(UnusableKey, match="must have mode 0600, got 0644"):
        open_log()
    (raw.folder / "log.key").chmod(0o600)
    assert len(open_log().messages(10)) == 1


def test_a_row_cannot_be_given_another_time(raw, empty_log):
    empty_log.append("hello there", "chat")
    raw.execute("UPDATE messages SET at = at + 1000")
    assert empty_log.messages(10) == []
    assert empty_log.counts().unreadable == 1


def test_a_damaged_row_is_deleted_counted_and_the_rest_still_serves(raw, empty_log, clock, caplog):
    empty_log.extend([("one word", "app", clock.now - 10), ("two words", "app", clock.now)])
    raw.execute("UPDATE messages SET sealed = x'00' WHERE at < ?", clock.now)
    assert [message.at for message in empty_log.export()] == [clock.now]
    assert empty_log.counts().unreadable == 0
    assert [message.at for message in empty_log.messages(100)] == [clock.now]
    assert (empty_log.counts().messages, empty_log.counts().unreadable) == (1, 1)
    assert "1 messages of the typing log are unreadable" in caplog.text


def test_the_keyring_may_keep_the_key(raw, open_log, memory_keyring, tmp_path):
    log = open_log(key_store=key_store(KeyPlace.KEYRING, tmp_path / "log.sqlite"))
    log.consent = True
    log.append("some words", "chat")
    assert raw.names() == ["log.sqlite"]
    assert len(memory_keyring.kept) == 1
    log.close()
    assert [message.text for message in open_log().messages(10)] == ["some words"], "the log knows where its key is"
    assert raw.names() == ["log.sqlite"]


def test_the_place_of_the_key_changes_only_while_the_log_is_empty(raw, open_log, memory_keyring, tmp_path):
    log = open_log()
    log.consent = True
    log.append("some words", "chat")
    in_keyring = key_store(KeyPlace.KEYRING, tmp_path / "log.sqlite")
    with pytest.raises(UnusableKey, match="is in the key store `file`, got `keyring`; an empty log can change it"):
        open_log(key_store=in_keyring)
    assert len(log.messages(10)) == 1
    log.wipe(with_key=True)
    moved = open_log(key_store=in_keyring)
    assert moved.append("other words", "chat") is Admission.STORED
    assert raw.names() == ["log.sqlite"]
    assert [message.text for message in log.messages(10)] == ["other words"], "an open log follows the key"


def test_an_unreachable_keyring_costs_nothing(open_log, memory_keyring, tmp_path):
    log = open_log(key_store=key_store(KeyPlace.KEYRING, tmp_path / "log.sqlite"))
    log.consent = True
    log.append("some words", "chat")
    log.close()
    with (
        keyring_in_use(fail.Keyring()),
        pytest.raises(UnusableKey, match="needs a keyring service, got none"),
    ):
        open_log()
    assert len(open_log().messages(10)) == 1


def test_a_keyring_that_leaves_stops_logging_and_wipes_nothing(open_log, memory_keyring, tmp_path):
    log = open_log(key_store=key_store(KeyPlace.KEYRING, tmp_path / "log.sqlite"))
    log.consent = True
    log.append("some words", "chat")
    with keyring_in_use(fail.Keyring()), pytest.raises(UnusableKey):
        log.wipe(with_key=True)
    assert len(log.messages(10)) == 1
    log.wipe()
    assert log.counts().messages == 0


@pytest.mark.parametrize("with_key", [False, True])
def test_after_a_wipe_the_raw_files_hold_no_trace(*, raw, full_log, with_key):
    sealed = raw.sealed() + [row[0] for row in raw.execute("SELECT sealed FROM sealed_values")]
    key = (raw.folder / "log.key").read_bytes()
    assert traces(sealed, raw.content()) > len(sealed)
    full_size = raw.path.stat().st_size
    full_log.wipe(with_key=with_key)
    assert traces(sealed, raw.content()) == 0
    assert raw.path.stat().st_size < full_size / 4
    assert raw.names() == (["log.sqlite"] if with_key else ["log.key", "log.sqlite"])
    assert full_log.counts() == (0, 0, None, None, 0, 0)
    assert full_log.consent
    full_log.append("new words", "chat")
    is_same = (raw.folder / "log.key").read_bytes() == key
    assert is_same is not with_key


def test_deleted_rows_are_overwritten_even_before_a_wipe(raw, full_log, clock):
    sealed = raw.sealed()
    clock.now += 365 * 24 * 3600.0
    full_log.expire()
    assert traces(sealed, raw.content()) == 0


def test_a_wipe_is_seen_by_a_process_that_has_the_log_open(full_log, open_log, raw):
    other = open_log()
    assert len(other.messages(10**6)) == 1_000
    full_log.wipe(with_key=True)
    assert other.messages(10**6) == []
    assert other.append("new words", "chat") is Admission.STORED
    assert [message.text for message in full_log.messages(10)] == ["new words"], "both have the new key"
    assert FileKeyStore(raw.folder / "log.key").load() is not None


def test_a_wipe_takes_files_set_aside_along(raw, full_log, open_log):
    sealed = raw.sealed()
    damaged = bytearray(raw.path.read_bytes())
    damaged[:16] = b"no sqlite at all"
    full_log.close()
    raw.path.write_bytes(damaged)
    log = open_log()
    assert traces(sealed, raw.content()) > 0
    log.wipe()
    assert traces(sealed, raw.content()) == 0
    assert log.files_set_aside() == []


def test_a_wipe_of_a_damaged_log_leaves_nothing(raw, full_log):
    sealed = raw.sealed()
    raw.path.write_bytes(b"\0" * 5_000 + raw.path.read_bytes()[5_000:])
    full_log.wipe()
    assert traces(sealed, raw.content()) == 0
    assert full_log.counts().messages == 0


def test_a_wipe_on_a_full_disk_deletes_the_file_and_keeps_the_switches(raw, full_log, monkeypatch):
    full_log.paused = True
    full_log.deny_list = {"bank"}
    sealed = raw.sealed()
    before = full_log.switches

    def no_room(*_, **__):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(vault, "_delete_all", no_room)
    full_log.wipe()
    assert traces(sealed, raw.content()) == 0
    assert full_log.switches == before
    full_log.paused = False
    assert full_log.append("new words", "chat") is Admission.STORED
