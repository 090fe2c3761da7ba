"""Months of an agent's life, with a service that errs and a clock that jumps."""

import itertools
import tempfile
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from device_runtime.conditions import AlwaysEligible
from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import MalformedAnswer, ServiceRefused, ServiceUnavailable
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.bookkeeping import FIRST_RETRY_S, LONGEST_RETRY_S
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from protocol.messages import ComeBack, Receipt

SEPARATION_S = 3_600.0  # the plan's, in conftest


class Client:
    """In place of the agent's HTTP client: answers at once, errs as told, and remembers when it was asked."""

    def __init__(self, service, clock):
        self.service, self.clock = service, clock
        self.error = self.signer = None
        self.check_in_answer = None
        self.bytes_up = self.bytes_down = 0
        self.asked_at, self.uploaded_at = [], []

    def _ask(self):
        self.asked_at.append(self.clock.true_now)
        if self.error is not None:
            raise self.error

    def enrol(self, population, message):
        self._ask()

    def check_in(self, population, message):
        self._ask()
        return self.check_in_answer

    def fetch_file(self, entry, cache):
        self._ask()
        return self.service.files[entry.sha256]

    def report(self, selected, update):
        self.uploaded_at.append((selected.assignment_id, self.clock.true_now))
        self._ask()
        return Receipt(assignment_id=selected.assignment_id, reconnect_after_s=0.0)


class JumpingClock:
    """True time, and what the device's clock shows of it."""

    def __init__(self):
        self.true_now, self.offset = 1_700_000_000.0, 0.0

    def __call__(self):
        return self.true_now + self.offset


class Schedule(RuleBasedStateMachine):
    """Subclassed with the fixtures `service`, `round_files` and `messages` as attributes."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.clock = JumpingClock()
        self.client = Client(self.service, self.clock)
        self.log = TypingLog(Path(self.folder.name) / "typing_log.sqlite", clock=lambda: 1_700_000_000.0)
        self.log.consent = True
        self.log.extend([(text, "chat", 1_700_000_000.0 - 60) for text in self.messages])
        self.pause_until = 0.0

    def teardown(self):
        if hasattr(self, "log"):
            self.log.close()
            self.folder.cleanup()

    def agent(self):
        environment = DeviceEnvironment(
            data_directory=Path(self.folder.name), conditions=AlwaysEligible(), clock=self.clock, jitter=lambda: 0.5
        )
        key = self.service.key.public_key()
        enrolment = Enrolment(service_url="https://keys.example.org", population="tests", public_key=key)
        with patch("device_runtime.rounds.agent.ServiceClient", lambda *_: self.client):
            agent = Agent(environment, enrolment, self.log)
        environment.http.close()
        return agent

    @rule(
        answer=st.sampled_from(["selected", "come back", "come back at once", "hours"]),
        error=st.sampled_from([None, None, None, ServiceUnavailable, MalformedAnswer, ServiceRefused]),
    )
    def step(self, answer, error):
        """A new process makes one step."""
        answers = {
            "come back": ComeBack(reconnect_after_s=300.0, reason="no_task"),
            "come back at once": ComeBack(reconnect_after_s=0.0, reason="no_task"),
            "hours": ComeBack(reconnect_after_s=20_000.0, reason="cohort_full"),
        }
        self.client.check_in_answer = answers.get(answer) or self.service.offer(self.round_files)
        self.client.error = error and (error(500, None) if error is ServiceRefused else error("erred"))
        asked = len(self.client.asked_at)
        outcome = self.agent().step()
        was_asked = len(self.client.asked_at) > asked
        assert not (was_asked and self.clock.true_now < self.pause_until), "a reconnect window must be kept"
        assert outcome.next_step_in_s <= max(20_000.0, LONGEST_RETRY_S, SEPARATION_S)
        if was_asked and outcome.next_step_in_s:
            self.pause_until = self.clock.true_now + outcome.next_step_in_s - 1e-3
        if outcome.event in (Event.UNAVAILABLE, Event.REFUSED, Event.REJECTED):
            assert 0.5 * FIRST_RETRY_S <= outcome.next_step_in_s <= LONGEST_RETRY_S

    @rule(seconds=st.sampled_from([1.0, 10.0, 60.0, 600.0, 3_700.0, 21_000.0]))
    def time_passes(self, seconds):
        self.clock.true_now += seconds

    @rule(seconds=st.sampled_from([1.0, 100.0, 3_600.0, 86_400.0, 1e9]))
    def clock_is_turned_back(self, seconds):
        self.clock.offset -= min(seconds, self.clock())

    @invariant()
    def separation_is_kept(self):
        """In true time, whatever the clock showed: turning it back only ever makes a device wait longer."""
        if not hasattr(self, "client"):
            return
        uploads = self.client.uploaded_at
        for (first, first_at), (second, second_at) in itertools.pairwise(uploads):
            assert first == second or second_at - first_at >= SEPARATION_S - 1e-3


def test_windows_and_separation_are_kept_whatever_service_and_clock_do(service, round_files, messages):
    fixtures = {"service": service, "round_files": round_files, "messages": messages}
    machine = type("BoundSchedule", (Schedule,), fixtures)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    machine.TestCase.settings = settings(
        deadline=None, max_examples=25, stateful_step_count=30, suppress_health_check=checks
    )
    machine.TestCase("runTest").runTest()


@pytest.mark.parametrize("jump_s", [-1e9, -3_600.0, -1.0])
def test_a_clock_turned_back_keeps_an_assignment_and_its_deadline_bounded(
    *, new_agent, service, round_files, clock, jump_s
):
    service.offer(round_files)
    new_agent().step()
    clock.now += jump_s
    assert new_agent().step().event is Event.CONFIGURED
    clock.now += 601
    assert new_agent().step().event is Event.EXPIRED


def test_a_clock_set_forward_by_years_neither_blocks_nor_breaks(new_agent, service, round_files, clock):
    service.offer(round_files)
    new_agent().step()
    clock.now += 30 * 366 * 24 * 3600
    assert new_agent().step().event is Event.EXPIRED
    service.check_in_answer = ComeBack(reconnect_after_s=60.0, reason="no_task")
    assert new_agent().step().event in (Event.TOLD_TO_WAIT, Event.NOTHING_TO_TRAIN)
    clock.now -= 30 * 366 * 24 * 3600  # and right again
    assert new_agent().step().next_step_in_s <= 60.0


def test_retries_are_spread(tmp_path, service, log, clock, conditions):
    """Half of the wait is random, so that a service that comes back is not met by all devices at once."""
    waits = []
    for index, jitter in enumerate((0.0, 0.25, 0.999)):
        environment = DeviceEnvironment(
            data_directory=tmp_path / str(index),
            conditions=conditions,
            clock=clock,
            jitter=lambda jitter=jitter: jitter,
        )
        enrolment = Enrolment(service_url=service.base_url, population="tests", public_key=service.key.public_key())
        service.override = lambda: msgspec.Raw(b"")  # no response: Flask answers 500
        waits.append(Agent(environment, enrolment, log).step().next_step_in_s)
        environment.http.close()
    assert waits == pytest.approx([FIRST_RETRY_S * share for share in (0.5, 0.625, 0.9995)])
