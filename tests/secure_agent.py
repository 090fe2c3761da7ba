"""What tests of an agent in a group share: its steps, its events, its state."""

import pytest

from device_runtime.rounds.agent_state import StateFile
from device_runtime.rounds.outcome import Event

ALL = [Event.ADVERTISED, Event.SHARED, Event.MASKED, Event.CONFIRMED, Event.REPORTED]
PUTS = ["keys", "shares", "masked-input", "confirmation", "unmasking"]


def steps(agent, count):
    return [agent.step() for _ in range(count)]


def events(outcomes):
    return [outcome.event for outcome in outcomes]


def live_until(agent, clock, event):
    """Steps until `event`, through every wait; all outcomes."""
    outcomes = []
    for _ in range(60):
        outcomes.append(agent.step())
        if outcomes[-1].event is event:
            return outcomes
        clock.now += outcomes[-1].next_step_in_s
    pytest.fail(f"{event} never came, but {events(outcomes)}")


def state(tmp_path):
    return StateFile(tmp_path / "tests" / "agent.json").load()
