"""An emulated device is the real agent over its own log; only time and surroundings are made up."""

import random
import socket

import pytest

from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from emulator.device import EmulatedDevice, Mishap, World, _Surroundings, make_device, run_step
from emulator.trace import DAY_S, HOUR_S, Intervals, Trace, nightly_trace
from emulator.traces.hardware import Hardware
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL

MIDNIGHT = 20_000 * DAY_S
WORDS = ["alpha", "beta", "gamma"]


@pytest.fixture
def world(tmp_path):
    path = tmp_path / "vocabulary.model"
    path.write_bytes(train_vocabulary(dict.fromkeys(WORDS, 1.0), NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)))
    with socket.socket() as probe:  # bound, not listening: nobody answers there
        probe.bind(("127.0.0.1", 0))
        yield World(
            service_url=f"http://127.0.0.1:{probe.getsockname()[1]}",
            population="english",
            public_key="00" * 32,
            enrolment_token="00" * 32,
            vocabulary_path=path,
        )


@pytest.fixture
def device(tmp_path):
    trace = nightly_trace(random.Random(0), first_midnight=MIDNIGHT, nights=1)
    return EmulatedDevice(index=0, folder=tmp_path / "device", trace=trace, hardware=Hardware(seconds_per_step=2.0))


def test_a_made_device_has_its_texts_in_its_own_encrypted_log(device):
    assert make_device(device, ["alpha beta", "gamma"], now=MIDNIGHT) == 2
    with TypingLog(device.folder / "typing_log.sqlite", clock=lambda: MIDNIGHT) as log:
        assert [message.text for message in log.messages(100)] == ["alpha beta", "gamma"]
    assert b"alpha" not in (device.folder / "typing_log.sqlite").read_bytes()


def test_by_day_nothing_is_sent(device, world):
    make_device(device, ["alpha beta"], now=MIDNIGHT)
    result = run_step(world, device, now=MIDNIGHT + 12 * HOUR_S)
    assert result.outcome.event is Event.NOT_ELIGIBLE
    assert result.outcome.bytes_up == 0


def test_at_night_the_real_agent_asks_the_service(device, world):
    make_device(device, ["alpha beta"], now=MIDNIGHT)
    result = run_step(world, device, now=MIDNIGHT + 2 * HOUR_S)
    assert result.outcome.event is Event.UNAVAILABLE
    assert (device.folder / "english" / "agent.json").exists()


def test_training_takes_the_devices_time_and_a_person_may_end_it(world):
    always = Intervals(((0, 1000),))
    trace = Trace(idle=always, charging=always, unmetered=always)
    device = EmulatedDevice(index=0, folder=None, trace=trace, hardware=Hardware(seconds_per_step=2.0))
    surroundings = _Surroundings(world, device, 100.0, Mishap(after_steps=3))
    eligible = []
    for _ in range(5):
        assert surroundings.spend_training_step() is False
        eligible.append(surroundings.read().eligible)
    assert eligible == [True, True, True, False, False]
    assert surroundings.clock() == 110.0


def test_the_end_of_the_night_ends_training(world):
    trace = Trace(idle=Intervals(((0, 105),)), charging=Intervals(((0, 200),)), unmetered=Intervals(((0, 200),)))
    surroundings = _Surroundings(
        world,
        EmulatedDevice(index=0, folder=None, trace=trace, hardware=Hardware(seconds_per_step=2.0)),
        100.0,
        mishap=None,
    )
    eligible = []
    for _ in range(4):
        surroundings.spend_training_step()
        eligible.append(surroundings.read().eligible)
    assert eligible == [True, True, False, False]
