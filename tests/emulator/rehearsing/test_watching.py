"""Who was lost, and where: a device's outcomes in, drop-outs by phase out."""

from pathlib import Path

import msgspec
import pytest

from device_runtime.rounds.outcome import Event, Outcome
from emulator.device import EmulatedDevice, StepResult
from emulator.person import Typed
from emulator.rehearsing.watching import Observations, totals
from emulator.trace import Intervals, Trace
from emulator.traces.hardware import Hardware

NEVER = Intervals(())
DEVICE = EmulatedDevice(
    index=3,
    folder=Path(),
    trace=Trace(idle=NEVER, charging=NEVER, unmetered=NEVER),
    hardware=Hardware(seconds_per_step=2.0),
)


def watched(*events, typed=()):
    seen = Observations()
    for event in events:
        numbers = {"steps": 5.0} if event is Event.TRAINED else {}
        outcome = Outcome(event=event, numbers=numbers, bytes_up=1, bytes_down=2)
        result = StepResult(outcome=outcome, elapsed_s=1.0, cpu_s=0.5, tensorflow_loaded=False, typed=typed)
        seen.see(DEVICE, result)
    return seen


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ((Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.REPORTED), {}),
        ((Event.SELECTED, Event.EXPIRED), {"selected: expired": 1}),
        ((Event.SELECTED, Event.REFUSED), {"selected: refused": 1}),
        ((Event.SELECTED, Event.CONFIGURED, Event.INTERRUPTED, Event.TOLD_TO_WAIT), {"configured: interrupted": 1}),
        ((Event.SELECTED, Event.CONFIGURED, Event.INTERRUPTED, Event.SELECTED), {"configured: interrupted": 1}),
        ((Event.SELECTED, Event.CONFIGURED, Event.INTERRUPTED, Event.TRAINED, Event.REPORTED), {}),
        ((Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.REJECTED), {"trained: rejected": 1}),
        ((Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.UNAVAILABLE, Event.REPORTED), {}),
        ((Event.SELECTED, Event.TRAINED, Event.MASKED, Event.GROUP_ENDED), {"in session: group_ended": 1}),
        ((Event.TOLD_TO_WAIT, Event.WAITING), {}),
    ],
)  # fmt: skip
def test_a_device_is_lost_in_the_phase_it_was_in(events, lost):
    assert watched(*events).drop_outs == lost


def test_sums_are_kept_by_device_and_day_and_survive_being_saved():
    typed = (Typed(day=2, messages=3, words=4, accepted=2, keystrokes=20, saved=6),)
    seen = watched(Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.REPORTED, typed=typed)
    assert (seen.bytes_up, seen.bytes_down, seen.training_steps, seen.training_device_s) == (4, 8, 5, 10.0)
    assert (seen.steps, seen.device_cpu_s, seen.training_cpu_s) == (4, 2.0, 0.5)
    assert seen.live[2].messages == 12
    sums = totals(seen.devices, [3, 4])
    assert (sums.selected, sums.reported, sums.keystrokes, sums.saved) == (1, 1, 80, 24)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Observations) == seen
