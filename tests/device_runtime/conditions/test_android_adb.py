"""The real `adb` client of Debian against a stub of its host server."""

import shutil
import time
from pathlib import Path

import pytest

from device_runtime.conditions.android_adb import AdbConditions
from device_runtime.conditions.thresholds import Thresholds

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed (apt-get install adb)")

DUMPS = Path(__file__).with_name("dumps")


def outputs(battery, power, connectivity):
    names = {"battery": battery, "power": power, "connectivity": connectivity}
    return {f"dumpsys {service}": (DUMPS / f"{name}.txt").read_text() for service, name in names.items()}


AT_NIGHT = outputs("battery_5", "power_5_asleep", "connectivity_14_emulator")


@pytest.fixture
def device(adb_server):
    adb_server.device.outputs = dict(AT_NIGHT)
    return adb_server.device


@pytest.fixture
def source(adb_server, device):
    host, port = adb_server.server_address
    return AdbConditions(Thresholds(), adb=("adb", "-H", host, "-P", str(port)), timeout_s=3.0)


def test_a_device_at_night_is_eligible(source, device):
    found = source.read()
    assert found.eligible, found.explain()
    assert sorted(device.commands) == sorted(AT_NIGHT)


def test_every_change_is_seen(source, device):
    device.outputs = outputs("battery_14", "power_14_awake", "connectivity_10_metered_wifi")
    assert source.read().missing == ("idle", "charging", "unmetered", "charged", "cool")


def test_an_exit_code_counts(source, device):
    device.exit_code = 20
    found = source.read()
    assert len(found.missing) == 5
    assert set(found.why.values()) == {"the command adb failed with code 20"}


def test_no_device_is_told(source, device):
    device.is_attached = False
    assert set(source.read().why.values()) == {"the command adb failed with code 1"}


def test_a_device_that_hangs_is_given_up(adb_server, device):
    device.is_silent = True
    host, port = adb_server.server_address
    began = time.monotonic()
    found = AdbConditions(Thresholds(), adb=("adb", "-H", host, "-P", str(port)), timeout_s=0.5).read()
    assert time.monotonic() - began < 2
    assert set(found.why.values()) == {"the command adb did not answer in time"}


def test_the_server_may_come_from_the_environment(adb_server, device, monkeypatch):
    host, port = adb_server.server_address
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{host}:{port}")
    assert AdbConditions(Thresholds()).read().eligible


def test_a_machine_without_adb_is_told():
    found = AdbConditions(Thresholds(network="unmetered"), adb=("no-such-adb",)).read()
    assert found.missing == ("idle", "charging", "charged", "cool")
    assert found.why["idle"] == "the command no-such-adb is not installed"
