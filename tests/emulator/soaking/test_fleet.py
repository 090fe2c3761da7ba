"""How fast virtual time may run, and who is in a soak's fleet."""

import pytest

from emulator.rehearsing.world import Layout
from emulator.soaking import fleet as module
from emulator.soaking.fleet import Pace, draw_fleet
from emulator.soaking.settings import VIRTUAL_SPEED, SoakSettings


@pytest.fixture
def machine(monkeypatch):
    """A clock that only sleeping and working move."""

    class Clock:
        at, slept = 0.0, 0.0

        def sleep(self, seconds):
            self.at += seconds
            self.slept += seconds

    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.at)
    monkeypatch.setattr(module.time, "sleep", clock.sleep)
    return clock


def test_virtual_time_is_held_back_and_slowness_is_never_made_up_for(machine):
    pace = Pace(1000.0)
    pace(1000.0 + VIRTUAL_SPEED)
    assert machine.slept == pytest.approx(1.0)
    machine.at += 30.0  # a step that took long
    pace(1000.0 + 2 * VIRTUAL_SPEED)
    assert machine.slept == pytest.approx(1.0)
    pace(1000.0 + 3 * VIRTUAL_SPEED)
    assert machine.slept == pytest.approx(2.0)


def test_a_long_night_is_not_slept_through(machine):
    Pace(0.0)(1e9)
    assert machine.slept <= 20.0


def test_devices_may_always_act_and_differ_by_seed(tmp_path):
    layout = Layout(folder=tmp_path, is_virtual=True)
    path = layout.texts("english", 0)
    path.parent.mkdir(parents=True)
    path.write_text('["a b"]')
    one, again, other = (draw_fleet(layout, SoakSettings(devices=9, rounds=1, seed=seed)) for seed in (1, 1, 2))
    assert [device.index for device in one] == list(range(9))
    assert len({device.folder for device in one}) == 9
    assert [device.hardware for device in one] == [device.hardware for device in again]
    assert [device.hardware for device in one] != [device.hardware for device in other]
    assert all(device.trace.next_eligible(5e8) == 5e8 for device in one)
