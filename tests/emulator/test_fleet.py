"""The fleet's time: order, waiting, appointments, going on; with a stand-in for what devices compute.

A device that waits must be small, for there are to be a hundred thousand.
"""

import tracemalloc
from concurrent.futures import Future
from pathlib import Path

import pytest

from device_runtime.rounds.outcome import Event, Outcome
from emulator import fleet as module
from emulator.device import EmulatedDevice, StepResult, World
from emulator.fleet import NEVER, Appointment, Fleet
from emulator.person import Person
from emulator.trace import DAY_S, HOUR_S, Intervals, Trace
from emulator.traces.diurnal import DiurnalTrace

START = 20_458 * DAY_S
WORLD = World(service_url="", population="p", public_key="", enrolment_token="", vocabulary_path=Path())
ALWAYS = Trace(**{name: Intervals(((0.0, 1e12),)) for name in ("idle", "charging", "unmetered")})
SOMETIMES = Trace(
    **{
        name: Intervals(((START + 2 * HOUR_S, START + 3 * HOUR_S), (START + 9 * HOUR_S, START + 9.5 * HOUR_S)))
        for name in ("idle", "charging", "unmetered")
    }
)


class StandIn:
    """In place of the engine: each device is told to wait for an hour, and each step takes 2 s."""

    def __init__(self, _num_workers, _lanes):
        self.spoken = []
        StandIn.newest = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def speak(self, _world, device, *, now, mishap=None):
        self.spoken.append((now, device.index))
        future = Future()
        outcome = Outcome(event=Event.TOLD_TO_WAIT, next_step_in_s=HOUR_S, bytes_up=5)
        future.set_result(StepResult(outcome=outcome, elapsed_s=2.0, cpu_s=0.0, tensorflow_loaded=False))
        return future


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(module, "LocalEngine", StandIn)


def device(index, folder, trace=ALWAYS):
    return EmulatedDevice(index=index, folder=folder / str(index), trace=trace)


def fleet(devices, tmp_path, **changes):
    options = {"start": START, "clock_path": tmp_path / "clock", "seed": 1, "vanish_rate": 0.0, "num_workers": 1}
    return Fleet(WORLD, devices, **options | changes)


def test_devices_act_when_their_traces_let_them_and_no_sooner_than_told(tmp_path):
    made = fleet([device(0, tmp_path, SOMETIMES), device(1, tmp_path)], tmp_path)
    made.run(until=START + 4 * HOUR_S)
    spoken = StandIn.newest.spoken
    assert [at for at, index in spoken if index == 0] == [START + 2 * HOUR_S]
    times = [at for at, index in spoken if index == 1]
    assert times == [START + turn * (HOUR_S + 2.0) for turn in range(len(times))]
    assert len(times) == 4
    assert spoken == sorted(spoken, key=lambda each: each[0])


def test_a_fleet_whose_devices_can_never_act_again_ends_by_itself(tmp_path):
    made = fleet([device(0, tmp_path, SOMETIMES)], tmp_path)
    made.run()
    assert len(StandIn.newest.spoken) == 2
    assert list(made.wake_at) == [NEVER]


def test_one_that_goes_on_does_what_the_whole_would_have_done(tmp_path):
    whole = fleet([device(index, tmp_path) for index in range(3)], tmp_path)
    whole.run(until=START + 10 * HOUR_S)
    expected = StandIn.newest.spoken
    half = fleet([device(index, tmp_path) for index in range(3)], tmp_path)
    half.run(until=START + 4 * HOUR_S)
    first = StandIn.newest.spoken
    rest = fleet([device(index, tmp_path) for index in range(3)], tmp_path, start=half.now, wake_at=list(half.wake_at))
    rest.run(until=START + 10 * HOUR_S)
    assert first + StandIn.newest.spoken == expected


def test_appointments_are_kept_at_their_time_and_those_that_were_missed_at_once(tmp_path):
    kept = []
    made = fleet([device(0, tmp_path)], tmp_path)
    times = (START - 1, START + HOUR_S, START + 5 * HOUR_S, START + 11 * HOUR_S)
    made.run(
        until=START + 6 * HOUR_S,
        appointments=[Appointment(at=at, act=lambda at=at: kept.append((at, made.now))) for at in times],
    )
    assert kept == [(START - 1, START), (START + HOUR_S,) * 2, (START + 5 * HOUR_S,) * 2]


class Unforeseeing:
    """A trace that is asked every ten minutes and only then knows."""

    def next_eligible(self, at):
        return at if SOMETIMES.conditions(at).eligible else at + 600


def test_where_nobody_knows_what_will_be_devices_ask_again_and_again(tmp_path):
    made = fleet([device(0, tmp_path, Unforeseeing())], tmp_path)
    made.run(until=START + 10 * HOUR_S)
    assert StandIn.newest.spoken == [(START + 2 * HOUR_S, 0), (START + 9 * HOUR_S + 2.0, 0)]


def test_several_lanes_overlap_for_a_few_seconds_and_lose_nobody(tmp_path):
    made = fleet([device(index, tmp_path) for index in range(4)], tmp_path, lanes=2)
    made.run(until=START + 2 * HOUR_S)
    assert sorted(index for _, index in StandIn.newest.spoken) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert made.totals.bytes_up == 40


def test_a_share_of_vanishing_devices_has_bounds(tmp_path):
    with pytest.raises(ValueError, match=r"vanish_rate must be in \[0, 1\], got 1.5"):
        fleet([], tmp_path, vanish_rate=1.5)


def test_a_device_that_waits_takes_less_than_ten_kilobytes(tmp_path):
    number = 2_000
    tracemalloc.start()
    devices = [
        EmulatedDevice(
            index=index,
            folder=tmp_path / f"{index:05d}",
            trace=DiurnalTrace(seed=f"1 {index}"),
            person=Person(seed=f"1 {index}", texts_path=tmp_path, zone_s=0.0, since=START, messages_per_day=5.0),
        )
        for index in range(number)
    ]
    held = []
    made = fleet(devices, tmp_path, wake_at=[START + HOUR_S] * number)
    look = Appointment(at=START + 30, act=lambda: held.append(tracemalloc.get_traced_memory()[0]))
    made.run(until=START + 60, appointments=[look])
    tracemalloc.stop()
    assert held[0] / number < 10_000
