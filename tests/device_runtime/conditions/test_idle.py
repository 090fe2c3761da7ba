import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.activity import last_keystroke, note_keystroke
from device_runtime.conditions.idle import LOAD_WINDOW_S, IdleProbe, LoadOfOthers
from device_runtime.conditions.interface import Unreadable
from device_runtime.conditions.thresholds import Thresholds

NOW = 1_700_000_000.0


class FixedLoad(LoadOfOthers):
    def __init__(self, load):
        self.load = load

    def read(self):
        if self.load is None:
            raise OSError("not told")
        return self.load


def probe(folder, load=0.0, now=NOW, **thresholds):
    return IdleProbe(folder, Thresholds(**thresholds), lambda: now, FixedLoad(load))


@pytest.mark.parametrize(("age_s", "holds"), [(0, False), (299, False), (300, True), (10_000, True)])
def test_idle_a_while_after_the_last_key(tmp_path, age_s, holds):
    note_keystroke(tmp_path, NOW - age_s)
    reading = probe(tmp_path, idle_minutes=5)()
    assert reading.holds is holds
    assert f"last key {age_s} s ago" in reading.why


def test_a_device_that_was_never_typed_on_is_idle(tmp_path):
    assert probe(tmp_path)() == (True, "no key was ever pressed, load of others 0.00, must be at most 0.5")


def test_a_busy_processor_is_not_idle(tmp_path):
    assert not probe(tmp_path, load=0.6, maximum_load=0.5)().holds
    assert probe(tmp_path, load=0.6, maximum_load=0.7)().holds


def test_an_unreadable_load_is_told_and_may_be_left_out(tmp_path):
    with pytest.raises(Unreadable, match="maximum_load = inf"):
        probe(tmp_path, load=None)()
    assert probe(tmp_path, load=None, maximum_load=math.inf)().holds


def test_after_the_clock_was_turned_back_the_wait_begins_anew(tmp_path):
    note_keystroke(tmp_path, NOW + 10 * 365 * 24 * 3600)
    assert not probe(tmp_path)().holds
    assert last_keystroke(tmp_path) == NOW
    assert probe(tmp_path, now=NOW + 301)().holds


@given(own=st.floats(0, 8), others=st.floats(0, 8), step_s=st.floats(0.05, 5))
def test_the_own_share_of_the_load_is_left_out(own, others, step_s):
    """The kernel's average of a constant load, and ours of a constant share of the processor, grow alike."""
    time_s = [0.0]
    load = LoadOfOthers(
        load=lambda: (own + others) * (1 - math.exp(-time_s[0] / LOAD_WINDOW_S)),
        own_cpu_s=lambda: own * time_s[0],
        monotonic=lambda: time_s[0],
    )
    for _ in range(20):
        time_s[0] += step_s
        found = load.read()
    assert found == pytest.approx(others * (1 - math.exp(-time_s[0] / LOAD_WINDOW_S)), abs=1e-6)


def test_this_machine_tells_its_load():
    assert LoadOfOthers().read() >= 0
