import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.typing_log import DEFAULT_RETENTION_S, Admission, TypingLog

SECRET = "xylophone quarrel"
DAY_S = 24 * 3600.0


def texts(log, max_words=10**6):
    return [message.text for message in log.messages(max_words)]


def test_nothing_is_stored_without_consent(open_log):
    log = open_log()
    assert not log.consent
    assert log.append(SECRET, "chat") is Admission.NO_CONSENT
    assert log.extend([(SECRET, "chat", 1e9)]) == 0
    assert log.counts() == (0, 0, None, None, 0, 0)


def test_consent_survives_restarts_and_can_be_taken_back(open_log):
    log = open_log()
    log.consent = True
    assert log.append("hello there", "chat") is Admission.STORED
    log.close()
    log = open_log()
    assert log.consent
    log.consent = False
    assert log.append("hello again", "chat") is Admission.NO_CONSENT
    assert log.messages(100) == []
    assert log.counts().messages == 1


def test_text_and_app_are_unreadable_without_the_key(raw, empty_log, open_log):
    empty_log.append(SECRET, "secret-app")
    assert texts(empty_log) == [SECRET]
    for word in (b"xylophone", b"quarrel", b"secret-app"):
        assert word not in raw.content()
    empty_log.close()
    (raw.folder / "log.key").unlink()
    assert open_log().messages(10) == []


def test_the_key_is_not_in_the_database(raw, empty_log):
    empty_log.append(SECRET, "chat")
    key = (raw.folder / "log.key").read_bytes()
    held = raw.path.read_bytes()
    found = any(part in held for part in (key, key.hex().encode(), key[:8], key[-8:]))
    assert not found


def test_files_are_private(raw, empty_log):
    assert raw.names() == ["log.key", "log.sqlite"]
    for path in raw.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_made_private(raw, empty_log, open_log):
    empty_log.close()
    raw.path.chmod(0o644)
    open_log()
    assert stat.S_IMODE(raw.path.stat().st_mode) == 0o600


def test_key_can_lie_elsewhere(tmp_path, clock):
    with TypingLog(tmp_path / "data" / "log.sqlite", tmp_path / "keys" / "log.key", clock=clock):
        pass
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["log.sqlite"]
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["log.key"]


@pytest.mark.parametrize("option", ["retention_s", "max_bytes"])
def test_limits_must_be_above_zero(open_log, option):
    with pytest.raises(ValueError, match=f"{option} must be > 0, got 0"):
        open_log(**{option: 0})


def test_newest_words_come_oldest_first(empty_log, clock):
    said = ["one", "two words", "three more words", "and four more words"]
    empty_log.extend([(text, "chat", clock.now + index) for index, text in enumerate(said)])
    assert texts(empty_log, 100) == said
    assert texts(empty_log, 7) == said[2:]
    assert texts(empty_log, 6) == said[3:]
    assert texts(empty_log, 3) == []


@settings(max_examples=40, deadline=None)
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


def test_expiry_runs_by_itself(empty_log, clock):
    empty_log.append("old words", "chat")
    clock.now += DEFAULT_RETENTION_S + 1
    assert empty_log.messages(10) == []
    empty_log.append("new words", "chat")
    assert empty_log.counts().messages == 1


def test_appending_alone_expires(raw, empty_log, clock):
    empty_log.append("old words", "chat")
    sealed = raw.sealed()[0]
    clock.now += DEFAULT_RETENTION_S + 1
    empty_log.append("new words", "chat")
    assert len(raw.sealed()) == 1
    assert sealed not in raw.content()


def test_what_a_clock_that_was_ahead_stamped_expires(empty_log, clock):
    empty_log.extend([("words ahead", "chat", clock.now + DAY_S + 1), ("other words", "chat", clock.now + DAY_S - 1)])
    assert texts(empty_log) == ["other words"]


def test_a_clock_that_was_never_set_empties_nothing(empty_log, clock):
    empty_log.append("some words", "chat")
    clock.now = 0.0
    assert empty_log.counts().messages == 1


@pytest.mark.parametrize("at", [float("nan"), float("inf"), float("-inf"), None])
def test_a_message_without_a_sane_time_is_of_now(empty_log, clock, at):
    assert empty_log.append("some words", "chat", at) is Admission.STORED
    assert empty_log.messages(10)[0].at == clock.now


@pytest.mark.parametrize("at_once", [True, False])
def test_beyond_its_size_the_oldest_go(raw, open_log, clock, at_once):
    max_bytes = 30_000
    log = open_log(max_bytes=max_bytes)
    log.consent = True
    messages = [(f"message w{index:03}", "chat", clock.now + index) for index in range(400)]
    if at_once:
        log.extend(messages)
    else:
        for text, app, at in messages:
            assert log.append(text, app, at) is Admission.STORED
    kept = log.messages(10**6)
    assert [message.at for message in kept] == [clock.now + index for index in range(400)][-len(kept) :]
    held = sum(len(sealed) for sealed in raw.sealed())
    assert 0.9 * max_bytes < held <= max_bytes
    assert raw.path.stat().st_size < 4 * max_bytes


def test_counts_tell_times_and_sizes(raw, empty_log, clock):
    empty_log.extend([("one", "chat", clock.now - 5), ("two words", "chat", clock.now - 3)])
    held = sum(len(sealed) for sealed in raw.sealed())
    assert empty_log.counts() == (2, 3, clock.now - 5, clock.now - 3, held, 0)


def test_an_export_has_everything_even_without_consent(empty_log, clock):
    said = [f"message {first}{second}" for first in range(12) for second in "abcdefghij" * 10]
    empty_log.extend([(text, "chat", clock.now - 1_200 + index) for index, text in enumerate(said)])
    empty_log.consent = False
    assert [message.text for message in empty_log.export()] == said
    clock.now += DEFAULT_RETENTION_S - 600
    assert [message.text for message in empty_log.export()] == said[600:]


def test_numbers_are_scrubbed_before_storing(empty_log):
    empty_log.append("my pin is 123456", "chat")
    assert "123456" not in texts(empty_log)[0]


def test_a_representation_never_shows_text(empty_log):
    empty_log.append(SECRET, "chat")
    assert "xylophone" not in repr(empty_log.messages(10))


def test_threads_share_a_log(empty_log):
    def write(name):
        for _ in range(10):
            assert empty_log.append(f"words of {name}", "chat") is Admission.STORED

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert empty_log.counts().messages == 40


def test_a_log_of_the_first_version_is_taken_over(raw, open_log, clock):
    """Made before there were fingerprints, deny lists and sealed values."""
    log = open_log()
    log.consent = True
    log.append("some words", "chat")
    log.close()
    raw.execute("DELETE FROM settings WHERE name LIKE 'key%'")
    raw.execute("DROP TABLE denied_apps")
    raw.execute("DROP TABLE sealed_values")
    log = open_log()
    assert log.consent
    assert texts(log) == ["some words"]
    log.sealed.put("value", b"1")
    assert log.deny_list == frozenset()
