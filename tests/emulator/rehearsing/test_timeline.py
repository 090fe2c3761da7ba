"""What a scenario does to its service: at its time, in order, once, and told in a sentence."""

import signal
from pathlib import Path

import msgspec
import pytest

from emulator.lying_service import LIES
from emulator.rehearsing.timeline import Timeline, interrupted_afterwards
from emulator.scenarios.schema import Event, Scenario
from emulator.trace import HOUR_S

START = 1_000_000.0


class Host:
    """Where no service runs."""

    def __init__(self, lie_path):
        self.lie_path = lie_path
        self.done = []

    def crash(self):
        self.done.append("crash")

    def start(self):
        self.done.append("start")


def timeline(tmp_path, *events):
    scenario = msgspec.convert(
        {"about": "a test", "days": 2, "devices": 1, "events": [msgspec.to_builtins(event) for event in events]},
        Scenario,
    )
    host = Host(tmp_path / "lie")
    return Timeline(scenario=scenario, grounds=[], config=None, host=host, start=START, is_seeded=True), host


def test_a_killed_service_is_started_when_its_time_has_come(tmp_path):
    made, host = timeline(
        tmp_path,
        Event(at_h=5, do="kill-service", down_h=2),
        Event(at_h=6, do="plain-reports"),
        Event(at_h=1, do="release"),
    )
    appointments = made.appointments(since=START)
    assert [(each.at - START) / HOUR_S for each in appointments] == [1, 5, 6, 7]
    for each in appointments:
        each.act()
    assert host.done == ["crash", "start"]
    assert made.happened == [
        "hour 1: the newest model was released",
        "hour 5: all processes of the service were killed and stayed away for 2 h",
        "hour 6: the service asked for reports that it can read",
    ]


def test_what_was_lived_already_does_not_happen_again(tmp_path):
    made, _ = timeline(tmp_path, *(Event(at_h=hour, do="release") for hour in range(4)))
    assert [(each.at - START) / HOUR_S for each in made.appointments(since=START + 1.5 * HOUR_S)] == [2, 3]


def test_ctrl_c_during_an_event_is_heard_after_it():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), interrupted_afterwards():  # noqa: PT012  # what comes first matters
        signal.raise_signal(signal.SIGINT)
        done.append("the event")
    assert done == ["the event"]
    assert signal.getsignal(signal.SIGINT) is before
    with interrupted_afterwards():
        done.append("no signal")
    assert done == ["the event", "no signal"]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_lasts_until_the_truth(tmp_path, lie):
    made, host = timeline(tmp_path, Event(at_h=1, do=lie), Event(at_h=2, do="tell-the-truth"))
    lying, truthful = made.appointments(since=START)
    lying.act()
    assert Path(host.lie_path).read_text() == lie
    truthful.act()
    assert Path(host.lie_path).read_text() == ""
    assert made.happened == [f"hour 1: {LIES[lie].told}", "hour 2: the service told the truth again"]
