import pytest

from device_runtime.rounds.outcome import Event, Outcome, describe


def test_outcomes_are_immutable_and_plain():
    outcome = Outcome(event=Event.TRAINED, numbers={"steps": 3})
    assert str(outcome.event) == "trained"
    with pytest.raises(AttributeError):
        outcome.event = Event.WAITING


def test_an_outcome_is_one_line_whatever_its_reason():
    outcome = Outcome(event=Event.REJECTED, reason="the service\nsays\r\n no", next_step_in_s=30.4, bytes_up=5)
    assert describe(outcome) == "rejected (the service says no) bytes_up=5 next_in=30s"
