import pytest

from device_runtime.outcome import Event, Outcome


def test_outcomes_are_immutable_and_plain():
    outcome = Outcome(event=Event.TRAINED, numbers={"steps": 3})
    assert str(outcome.event) == "trained"
    with pytest.raises(AttributeError):
        outcome.event = Event.WAITING
