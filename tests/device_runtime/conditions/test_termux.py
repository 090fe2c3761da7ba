"""Termux's commands are stand-ins on PATH that print what the add-on prints."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.conditions import Reading, Unreadable, termux
from device_runtime.conditions.termux import TermuxConditions
from device_runtime.conditions.thresholds import Thresholds

BATTERY = {
    "health": "GOOD",
    "percentage": 84,
    "plugged": "PLUGGED_USB",
    "status": "CHARGING",
    "temperature": 29.3,
    "current": 210,
}
WIFI = {"bssid": "02:00:00:00:00:00", "ip": "192.168.1.7", "ssid": "a home", "supplicant_state": "COMPLETED"}
TELEPHONY = {"data_enabled": "true", "data_state": "disconnected", "phone_type": "gsm"}


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Sets what a command prints: an object, text, or None for a command that is not there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def sets(name, output, code=0):
        path = folder / name
        path.unlink(missing_ok=True)
        if output is not None:
            (folder / f"{name}.out").write_text(output if isinstance(output, str) else json.dumps(output))
            path.write_text(f"#!/bin/sh\ncat '{folder}/{name}.out'\nexit {code}\n")
            path.chmod(0o755)

    sets("termux-battery-status", BATTERY)
    sets("termux-wifi-connectioninfo", WIFI)
    sets("termux-telephony-deviceinfo", TELEPHONY)
    return sets


def read(tmp_path, **thresholds):
    return TermuxConditions(tmp_path, Thresholds(**thresholds), idle=lambda: Reading(True, "")).read()


def test_a_phone_at_night_is_eligible(phone, tmp_path):
    found = read(tmp_path)
    assert found.eligible, found.explain()
    assert "a home" not in str(found)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"plugged": "UNPLUGGED"}, ("charging",)),
        ({"plugged": "PLUGGED_MOON"}, ("charging",)),
        ({"percentage": 12}, ("charged",)),
        ({"percentage": -1}, ("charged",)),
        ({"temperature": 44.0}, ("cool",)),
        ({"temperature": None}, ("cool",)),
        ({"percentage": "many"}, ("charging", "charged", "cool")),
    ],
)
def test_battery(phone, tmp_path, change, missing):
    phone("termux-battery-status", BATTERY | change)
    assert read(tmp_path).missing == missing


def test_temperature_may_be_left_out(phone, tmp_path):
    phone("termux-battery-status", BATTERY | {"temperature": None})
    assert read(tmp_path, maximum_battery_temperature_c=math.inf).cool


@pytest.mark.parametrize(
    ("wifi", "telephony", "unmetered"),
    [
        (WIFI, TELEPHONY, True),
        (WIFI, None, True),  # a tablet
        (WIFI, {"API_ERROR": "Please grant the following permission"}, True),
        (WIFI, TELEPHONY | {"data_state": "connected"}, False),
        (WIFI | {"supplicant_state": "DISCONNECTED"}, TELEPHONY, False),
        ({"API_ERROR": "No current connection"}, TELEPHONY, False),
        (None, TELEPHONY, False),
    ],
)
def test_network(phone, tmp_path, wifi, telephony, unmetered):
    phone("termux-wifi-connectioninfo", wifi)
    phone("termux-telephony-deviceinfo", telephony)
    assert read(tmp_path).unmetered is unmetered


def test_without_the_addon_everything_says_why(phone, tmp_path):
    for name in ("termux-battery-status", "termux-wifi-connectioninfo", "termux-telephony-deviceinfo"):
        phone(name, None)
    found = read(tmp_path)
    assert found.missing == ("charging", "unmetered", "charged", "cool")
    assert found.why["charging"] == "the command termux-battery-status is not installed"


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_output_is_decoded_or_unreadable(text):
    with pytest.raises(Unreadable, match="printed something else"):
        termux._decode({"x": text}, "x", termux._Battery)
