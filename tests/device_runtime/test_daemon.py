import sqlite3

import pytest

from device_runtime.conditions import AlwaysEligible, NeverEligible
from device_runtime.daemon import LONGEST_SLEEP_S, REFRESH_EVERY_S, Daemon
from device_runtime.diary import Diary
from device_runtime.network.transfer import TransferStopped
from device_runtime.rounds.outcome import Event, Outcome


class Agent:
    """Gives outcomes in turn, or raises them."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def step(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Stop:
    """Sleeps in no time, and is set once nothing is left to do: during the last step."""

    def __init__(self, agent):
        self.agent = agent
        self.slept = []

    def is_set(self):
        return not self.agent.outcomes

    def wait(self, timeout_s):
        self.slept.append(timeout_s)
        return self.is_set()


@pytest.fixture
def diary(tmp_path):
    with Diary(tmp_path / "diary.sqlite") as diary:
        yield diary


def run(diary, clock, *outcomes, conditions=None, refresh=None, steps=None):
    agent = Agent(*outcomes)
    stop = Stop(agent)
    daemon = Daemon(agent, stop, clock, conditions or AlwaysEligible(), diary=diary, refresh=refresh)
    daemon.run(steps)
    return stop.slept


TRAINED = Outcome(event=Event.TRAINED, numbers={"steps": 3.0}, bytes_down=10, model_version=4)
REPORTED = Outcome(event=Event.REPORTED, bytes_up=20, model_version=4, next_step_in_s=1.0)
KEPT = Outcome(event=Event.RELEASE_KEPT, bytes_down=7)
WAITING = Outcome(event=Event.WAITING, next_step_in_s=5.0)


def test_what_was_done_is_written_down_and_waiting_is_not(diary, clock):
    run(diary, clock, TRAINED, WAITING, REPORTED, Outcome(event=Event.NOT_ELIGIBLE))
    assert [(entry.event, entry.model_version) for entry in diary.entries()] == [("reported", 4), ("trained", 4)]
    totals = diary.totals()
    assert (totals.trained, totals.reported, totals.bytes_up, totals.bytes_down) == (1, 1, 20, 10)


def test_it_stops_after_the_steps_asked_for_or_when_told(diary, clock):
    assert len(run(diary, clock, WAITING, WAITING, WAITING, steps=2)) == 1
    assert len(run(diary, clock, WAITING, WAITING, WAITING)) == 3


def test_sleeps_are_neither_long_nor_none(diary, clock):
    years = Outcome(event=Event.WAITING, next_step_in_s=1e9)
    assert run(diary, clock, years, Outcome(event=Event.SELECTED), WAITING) == [LONGEST_SLEEP_S, 0.05, 5.0]


def test_one_line_an_outcome_and_dull_ones_once(diary, clock, caplog):
    caplog.set_level("INFO", logger="device_runtime.daemon")
    run(diary, clock, WAITING, WAITING, TRAINED, WAITING)
    assert [message.split()[0] for message in caplog.messages] == ["waiting", "trained", "waiting"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "/secret words"), sqlite3.OperationalError("secret words")]
)
def test_a_disk_that_refuses_does_not_end_it_nor_tell_too_much(diary, clock, caplog, error):
    caplog.set_level("INFO")
    assert run(diary, clock, error, TRAINED) == [LONGEST_SLEEP_S, 0.05]
    assert diary.totals().trained == 1
    assert caplog.messages[0].startswith("failed (")
    assert "secret" not in caplog.text


def refreshes(diary, clock, *outcomes, error=None, **settings):
    times = []

    def refresh():
        times.append(clock.now)
        if error is not None:
            raise error
        return KEPT

    run(diary, clock, *outcomes, refresh=refresh, **settings)
    return len(times)


def test_a_release_is_looked_for_once_a_day_and_after_a_report(diary, clock):
    assert refreshes(diary, clock, *[WAITING] * 10) == 1
    assert diary.totals().bytes_down == 7
    assert refreshes(diary, clock, WAITING, REPORTED, WAITING) == 2

    class Ticking(Agent):
        def step(self):
            clock.now += REFRESH_EVERY_S / 2
            return super().step()

    agent = Ticking(*[WAITING] * 6)
    times = []
    Daemon(agent, Stop(agent), clock, AlwaysEligible(), diary=diary, refresh=lambda: times.append(1) or KEPT).run()
    assert len(times) == 3  # after steps 1, 3 and 5


def test_a_clock_turned_back_does_not_end_the_looking(diary, clock):
    class Jumping(Agent):
        def step(self):
            clock.now -= 10 * REFRESH_EVERY_S
            return super().step()

    agent = Jumping(*[WAITING] * 3)
    times = []
    Daemon(agent, Stop(agent), clock, AlwaysEligible(), diary=diary, refresh=lambda: times.append(1) or KEPT).run()
    assert len(times) == 2


def test_no_release_is_looked_for_within_a_round(diary, clock):
    assert refreshes(diary, clock, Outcome(event=Event.SELECTED), TRAINED, WAITING, WAITING) == 1
    assert refreshes(diary, clock, Outcome(event=Event.SELECTED), TRAINED, TRAINED) == 0
    awaiting = Outcome(event=Event.AWAITING_GROUP, next_step_in_s=2.0)
    assert refreshes(diary, clock, TRAINED, Outcome(event=Event.ADVERTISED), awaiting, awaiting) == 0


def test_no_release_is_looked_for_on_somebodys_mobile_data(diary, clock):
    assert refreshes(diary, clock, WAITING, REPORTED, conditions=NeverEligible()) == 0


@pytest.mark.parametrize(
    ("error", "times"),
    [(sqlite3.OperationalError("locked"), 1), (OSError(28, "full"), 1), (TransferStopped("stopped"), 3)],
)
def test_looking_for_a_release_may_fail(diary, clock, error, times):
    assert refreshes(diary, clock, *[WAITING] * 4, error=error) == times
