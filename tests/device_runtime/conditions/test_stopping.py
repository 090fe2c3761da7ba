"""A made-up phone over the real adb: unplugged, picked up, or taken off Wi-Fi while the agent trains on it."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from device_runtime.conditions.android_adb import AdbConditions
from device_runtime.conditions.thresholds import Thresholds
from device_runtime.conditions.watcher import WatchedConditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.outcome import Event

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed (apt-get install adb)")

DUMPS = Path(__file__).with_name("dumps")
AT_NIGHT = {"battery": "battery_5", "power": "power_5_asleep", "connectivity": "connectivity_14_emulator"}


def outputs(**changes):
    return {f"dumpsys {name}": (DUMPS / f"{dump}.txt").read_text() for name, dump in (AT_NIGHT | changes).items()}


@pytest.fixture
def began():
    return threading.Event()


@pytest.fixture
def agent(*, enrolled, tmp_path, service, log, clock, adb_server, began):
    adb_server.device.outputs = outputs()
    host, port = adb_server.server_address
    source = AdbConditions(Thresholds(), adb=("adb", "-H", host, "-P", str(port)))

    def slow_step():
        began.set()
        time.sleep(0.02)
        return False

    with new_session() as session, WatchedConditions(source) as watched:
        environment = DeviceEnvironment(
            data_directory=tmp_path, conditions=watched, clock=clock, http=session, should_abort=slow_step
        )
        enrolment = Enrolment(service_url=service.base_url, population="tests", public_key=service.key.public_key())
        yield Agent(environment, enrolment, log)


@pytest.mark.parametrize(
    "change",
    [{"battery": "battery_14"}, {"power": "power_14_awake"}, {"connectivity": "connectivity_10_metered_wifi"}, None],
    ids=["unplugged", "picked up", "metered", "detached"],
)
def test_training_stops_within_a_second(*, agent, service, round_files, adb_server, began, change):
    plan = round_files["plan"].replace(b'"local_epochs":1', b'"local_epochs":20').replace(b":0.5", b":0.01")
    service.offer(round_files | {"plan": plan})
    assert [agent.step().event for _ in range(2)] == [Event.SELECTED, Event.CONFIGURED]
    ended_at = []

    def end():
        assert began.wait(10)
        time.sleep(0.1)
        ended_at.append(time.monotonic())
        if change is None:
            adb_server.device.is_attached = False
        else:
            adb_server.device.outputs = outputs(**change)

    thread = threading.Thread(target=end)
    thread.start()
    outcome = agent.step()
    took_s = time.monotonic() - ended_at[0]
    thread.join()
    assert outcome.event is Event.INTERRUPTED
    assert took_s < 3
    assert agent.step().event in (Event.WAITING, Event.NOT_ELIGIBLE)
