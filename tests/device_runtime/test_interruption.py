"""Whatever ends while the agent works, its step returns within a second, and the work goes on as it should.

The service is the real loopback one behind a proxy as slow as a test wants; conditions are watched as in the daemon.
"""

import dataclasses
import socket
import threading
import time
from contextlib import suppress

import pytest

from device_runtime.conditions import Conditions
from device_runtime.conditions.interface import CONDITIONS
from device_runtime.conditions.watcher import WatchedConditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import Assigned, Configured, StateFile, Trained, Waiting
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog

LIMIT_S = 3.0
HELD = Conditions(idle=True, charging=True, unmetered=True)


class Switch:
    """Conditions that a test ends, one by one."""

    def __init__(self):
        self.current = HELD
        self.is_ending = False

    def read(self):
        return self.current

    def end(self, name):
        if name == "process":
            self.is_ending = True
        else:
            self.current = dataclasses.replace(HELD, **{name: False})

    def hold(self):
        self.current, self.is_ending = HELD, False


class SlowProxy:
    """Forwards to the service, as fast as it can or at `bytes_per_s`; `moved` is set once bytes move slowly."""

    def __init__(self, port):
        self.bytes_per_s = None
        self.moved = threading.Event()
        self._target = port
        self._ends = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self):
        self.bytes_per_s = None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)
        for end in self._ends:
            end.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._forward, args=(source, target), daemon=True))
                    self._threads[-1].start()

    def _forward(self, source, target):
        with suppress(OSError):
            while content := source.recv(256):
                if self.bytes_per_s is not None:
                    self.moved.set()
                    time.sleep(len(content) / self.bytes_per_s)
                target.sendall(content)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def link(service):
    proxy = SlowProxy(int(service.base_url.rpartition(":")[2]))
    yield proxy
    proxy.close()


@pytest.fixture
def switch():
    return Switch()


class SlowProcessor:
    """Takes 20 ms before each training step, as a phone does in it."""

    def __init__(self):
        self.began = threading.Event()

    def __call__(self):
        self.began.set()
        time.sleep(0.02)
        return False


@pytest.fixture
def processor():
    return SlowProcessor()


@pytest.fixture
def agent(*, enrolled, tmp_path, service, log, clock, switch, link, processor):
    with new_session() as session, WatchedConditions(switch) as watched:
        environment = DeviceEnvironment(
            data_directory=tmp_path,
            conditions=watched,
            clock=clock,
            http=session,
            jitter=lambda: 1.0,
            should_abort=processor,
            is_ending=lambda: switch.is_ending,
        )
        url = f"http://127.0.0.1:{link.port}"
        yield Agent(
            environment, Enrolment(service_url=url, population="tests", public_key=service.key.public_key()), log
        )


@pytest.fixture
def long_round(service, round_files):
    """A round whose training takes some 1.6 s."""
    plan = round_files["plan"].replace(b'"local_epochs":1', b'"local_epochs":20').replace(b":0.5", b":0.01")
    service.offer(round_files | {"plan": plan})


def ended_in_mid_step(agent, began, end):
    """Runs a step, ends something a little after `began`, and returns the outcome and how long the step went on."""
    ended_at = []

    def watch():
        assert began.wait(10)
        time.sleep(0.15)
        ended_at.append(time.monotonic())
        end()

    thread = threading.Thread(target=watch)
    thread.start()
    outcome = agent.step()
    returned_at = time.monotonic()
    thread.join()
    return outcome, returned_at - ended_at[0]


def phase(tmp_path):
    return StateFile(tmp_path / "tests" / "agent.json").load().phase


def run_on(agent, clock, link, switch):
    """Lets everything hold again and steps until the round is reported; returns the events."""
    switch.hold()
    link.bytes_per_s = None
    time.sleep(0.3)  # the watcher looks again
    events = []
    while Event.REPORTED not in events and len(events) < 10:
        outcome = agent.step()
        events.append(outcome.event)
        clock.now += outcome.next_step_in_s
    return events


@pytest.mark.usefixtures("long_round")
@pytest.mark.parametrize("name", CONDITIONS)
def test_training_stops_and_is_dropped(*, agent, service, switch, processor, tmp_path, name):
    assert [agent.step().event for _ in range(2)] == [Event.SELECTED, Event.CONFIGURED]
    outcome, took_s = ended_in_mid_step(agent, processor.began, lambda: switch.end(name))
    assert outcome.event is Event.INTERRUPTED
    assert 0 <= took_s < LIMIT_S
    assert isinstance(phase(tmp_path), Waiting)
    assert agent.step().event in (Event.WAITING, Event.NOT_ELIGIBLE)
    assert service.reports == []


@pytest.mark.usefixtures("long_round")
@pytest.mark.parametrize("name", [*CONDITIONS, "process"])
def test_a_download_stops_and_is_taken_up_again(*, agent, service, switch, link, clock, tmp_path, name):
    assert agent.step().event is Event.SELECTED
    link.bytes_per_s = 5_000
    outcome, took_s = ended_in_mid_step(agent, link.moved, lambda: switch.end(name))
    assert outcome.event is Event.INTERRUPTED
    assert 0 <= took_s < LIMIT_S
    assert isinstance(phase(tmp_path), Assigned)
    assert run_on(agent, clock, link, switch) == [Event.CONFIGURED, Event.TRAINED, Event.REPORTED]
    assert len(service.reports) == 1


@pytest.mark.parametrize("name", [*CONDITIONS, "process"])
def test_an_upload_stops_and_is_taken_up_again(*, agent, service, switch, link, clock, tmp_path, round_files, name):
    service.offer(round_files)
    assert [agent.step().event for _ in range(3)] == [Event.SELECTED, Event.CONFIGURED, Event.TRAINED]
    link.bytes_per_s = 1_000
    outcome, took_s = ended_in_mid_step(agent, link.moved, lambda: switch.end(name))
    assert outcome.event is Event.INTERRUPTED
    assert 0 <= took_s < LIMIT_S
    assert isinstance(phase(tmp_path), Trained)
    assert service.reports == []
    assert run_on(agent, clock, link, switch) == [Event.REPORTED]
    assert len(set(service.reports)) == 1  # what lay in the network's buffers may arrive too: the same bytes


def test_an_upload_that_comes_too_late_is_dropped(*, agent, service, switch, link, clock, tmp_path, round_files):
    service.offer(round_files)
    for _ in range(3):
        agent.step()
    link.bytes_per_s = 1_000
    ended_in_mid_step(agent, link.moved, lambda: switch.end("idle"))
    clock.now += 600
    assert agent.step().event is Event.EXPIRED
    assert not list(tmp_path.rglob("update.sealed"))


@pytest.mark.usefixtures("long_round")
def test_the_end_of_the_process_keeps_a_training_round(*, agent, service, switch, link, clock, processor, tmp_path):
    assert [agent.step().event for _ in range(2)] == [Event.SELECTED, Event.CONFIGURED]
    outcome, took_s = ended_in_mid_step(agent, processor.began, lambda: switch.end("process"))
    assert outcome.event is Event.INTERRUPTED
    assert 0 <= took_s < LIMIT_S
    assert isinstance(phase(tmp_path), Configured)
    assert run_on(agent, clock, link, switch) == [Event.TRAINED, Event.REPORTED]


@pytest.mark.usefixtures("long_round")
def test_taking_consent_back_stops_training(agent, tmp_path, processor):
    assert [agent.step().event for _ in range(2)] == [Event.SELECTED, Event.CONFIGURED]

    def take_back():  # as another process does
        with TypingLog(tmp_path / "typing_log.sqlite") as log:
            log.consent = False

    outcome, took_s = ended_in_mid_step(agent, processor.began, take_back)
    assert outcome.event is Event.INTERRUPTED
    assert took_s < LIMIT_S
