import threading
import time

import pytest

from device_runtime.conditions import AlwaysEligible, NeverEligible
from device_runtime.conditions.watcher import LINGER_S, WatchedConditions


class Source:
    """Takes `delay_s` for a reading, and counts them; hangs while `hangs` is set."""

    def __init__(self, delay_s=0.0):
        self.current = AlwaysEligible()
        self.delay_s = delay_s
        self.reads = 0
        self.released = threading.Event()
        self.released.set()

    def read(self):
        self.reads += 1
        time.sleep(self.delay_s)
        self.released.wait(10)
        return self.current.read()


@pytest.fixture
def source():
    source = Source()
    yield source
    source.released.set()


def watch(source, **settings):
    return WatchedConditions(source, **({"interval_s": 0.02, "stale_after_s": 0.3} | settings))


def test_the_first_poll_waits_for_a_reading(source):
    source.delay_s = 0.1
    with watch(source) as watched:
        assert watched.read().eligible


def test_polls_are_quick_however_slow_the_source_is(source):
    source.delay_s = 0.1
    with watch(source) as watched:
        watched.read()
        began = time.monotonic()
        for _ in range(1_000):
            watched.read()
        assert time.monotonic() - began < 5  # at the pace of the source they would take 100 s


def test_a_change_is_seen_within_an_interval(source):
    with watch(source) as watched:
        assert watched.read().eligible
        source.current = NeverEligible("it ended")
        began = time.monotonic()
        while watched.read().eligible:
            assert time.monotonic() - began < 5
        assert watched.read().why["idle"] == "it ended"


def test_a_source_that_hangs_counts_as_unreadable(source):
    with watch(source, stale_after_s=0.1) as watched:
        assert watched.read().eligible
        source.released.clear()
        time.sleep(0.2)
        found = watched.read()
        assert not found.eligible
        assert found.why["cool"] == "no answer for more than 0.1 s"
        source.released.set()


def test_a_source_that_never_answers_does_not_block(source):
    source.released.clear()
    with watch(source) as watched:
        began = time.monotonic()
        assert not watched.read().eligible
        assert time.monotonic() - began < 5
        source.released.set()


def test_a_process_that_ends_does_not_wait_for_a_source_that_hangs(source):
    source.released.clear()
    with watch(source, stale_after_s=30, is_ending=lambda: True) as watched:
        began = time.monotonic()
        assert not watched.read().eligible
        assert time.monotonic() - began < 5
        source.released.set()


def test_nobody_reads_while_nobody_polls_and_then_anew(source, monkeypatch):
    monkeypatch.setattr("device_runtime.conditions.watcher.LINGER_S", 0.05)
    with watch(source, stale_after_s=5) as watched:
        watched.read()
        time.sleep(0.2)
        reads = source.reads
        time.sleep(0.2)
        assert source.reads == reads
        source.current = NeverEligible()
        assert not watched.read().eligible  # not what was read before the nap


def test_closing_ends_the_thread(source):
    watched = watch(source)
    watched.read()
    watched.close()
    assert not watched._thread.is_alive()
    assert LINGER_S > 1
