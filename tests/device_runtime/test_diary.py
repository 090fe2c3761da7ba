import os
import sqlite3
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.diary import KEPT_S, MAX_ENTRIES, Diary, DiaryTotals
from device_runtime.rounds.outcome import Event
from device_runtime.storage.sqlite_file import SqliteFile

DAY_S = 24 * 3600.0


@pytest.fixture
def diary(tmp_path, clock):
    with Diary(tmp_path / "diary.sqlite", clock) as diary:
        yield diary


def test_an_empty_diary_has_zeros(diary):
    assert diary.entries() == []
    assert diary.totals() == DiaryTotals()


def test_what_was_recorded_is_read_newest_first(diary, clock):
    diary.record(Event.TRAINED, model_version=3, numbers={"steps": 4, "last_loss": 2.5})
    clock.now += 60
    diary.record(Event.REPORTED, model_version=3, bytes_up=100, bytes_down=7)
    newest, before = diary.entries()
    assert (newest.event, newest.at, newest.bytes_up, newest.bytes_down) == (Event.REPORTED, clock.now, 100, 7)
    assert (before.event, before.model_version, before.numbers) == (Event.TRAINED, 3, {"steps": 4, "last_loss": 2.5})
    assert diary.entries(limit=1) == [newest]
    assert diary.entries(limit=-1) == []


@settings(max_examples=20, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from(list(Event)), st.integers(0, 10**12), st.integers(0, 10**12)), max_size=8)
)
def test_totals_are_sums(tmp_path_factory, events):
    now = 1.7e9
    with Diary(tmp_path_factory.mktemp("diary") / "diary.sqlite", lambda: now) as diary:
        for now, (event, up, down) in enumerate(events, 1_700_000_000):  # noqa: B007  # the clock reads it
            diary.record(event, bytes_up=up, bytes_down=down)
        totals = diary.totals()
    kinds = [event for event, _, _ in events]
    assert totals.trained == kinds.count(Event.TRAINED)
    assert totals.reported == kinds.count(Event.REPORTED)
    assert totals.bytes_up == sum(up for _, up, _ in events)
    assert totals.bytes_down == sum(down for _, _, down in events)
    for kind, last in ((Event.TRAINED, totals.last_trained_at), (Event.REPORTED, totals.last_reported_at)):
        times = [1_700_000_000 + place for place, each in enumerate(kinds) if each is kind]
        assert last == max(times, default=None)


def test_entries_go_and_totals_stay(diary, clock):
    diary.record(Event.REPORTED, bytes_up=5)
    clock.now += KEPT_S + 1
    diary.record(Event.WAITING)
    assert [entry.event for entry in diary.entries()] == [Event.WAITING]
    assert diary.totals().bytes_up == 5
    assert diary.totals().reported == 1


def test_it_is_bounded_even_if_the_clock_stands_still(diary, tmp_path):
    diary.record(Event.TRAINED)
    with sqlite3.connect(tmp_path / "diary.sqlite") as database:
        database.execute("UPDATE entries SET id = ?", (MAX_ENTRIES - 2,))
    database.close()
    for _ in range(5):
        diary.record(Event.WAITING)
    assert [entry.event for entry in diary.entries()] == [Event.WAITING] * 5 + [Event.TRAINED]
    with sqlite3.connect(tmp_path / "diary.sqlite") as database:
        database.execute("UPDATE entries SET id = id + ? WHERE event = 'waiting'", (MAX_ENTRIES,))
    database.close()
    diary.record(Event.WAITING)
    assert Event.TRAINED not in [entry.event for entry in diary.entries()]


def test_numbers_that_are_not_finite_are_left_out(diary):
    diary.record(Event.TRAINED, numbers={"loss": float("nan"), "norm": float("inf"), "steps": 3})
    assert diary.entries()[0].numbers == {"steps": 3.0}


@pytest.mark.parametrize("change", ["event = 'a later kind'", "numbers = 'no json'", "numbers = '[1]'"])
def test_entries_that_this_version_does_not_know_are_left_out(diary, tmp_path, change):
    diary.record(Event.TRAINED)
    with sqlite3.connect(tmp_path / "diary.sqlite") as database:
        database.execute(f"UPDATE entries SET {change}")  # noqa: S608
    database.close()
    diary.record(Event.WAITING)
    assert [entry.event for entry in diary.entries()] == [Event.WAITING]


def test_two_processes_add_up(diary, tmp_path, clock):
    with Diary(tmp_path / "diary.sqlite", clock) as other:
        other.record(Event.TRAINED, bytes_up=1)
        diary.record(Event.TRAINED, bytes_up=2)
        assert diary.totals() == other.totals()
        assert other.totals().bytes_up == 3


def test_it_is_private(diary, tmp_path):
    diary.record(Event.WAITING)
    assert stat.S_IMODE((tmp_path / "diary.sqlite").stat().st_mode) == 0o600


def test_a_damaged_diary_begins_anew_with_one_warning(diary, tmp_path, caplog):
    diary.record(Event.TRAINED)
    (tmp_path / "diary.sqlite").write_bytes(os.urandom(9_000))
    diary.record(Event.REPORTED)
    assert diary.totals().reported == 1
    assert diary.totals().trained == 0
    assert len(caplog.records) == 1
    assert "a fresh diary begins" in caplog.text


def test_a_full_disk_is_warned_of_and_stops_nothing(diary, monkeypatch, caplog):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SqliteFile, "write", no_room)
    diary.record(Event.TRAINED)
    assert caplog.messages == ["the diary could not be written: the disk is full"]
