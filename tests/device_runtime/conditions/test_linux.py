"""Power is read from a made-up sysfs by the real psutil; temperatures from what psutil would give."""

import math

import psutil
import pytest
from psutil._ntuples import shwtemp

from device_runtime.conditions import Reading, Unreadable, linux
from device_runtime.conditions.linux import LinuxConditions
from device_runtime.conditions.thresholds import Thresholds


@pytest.fixture
def supplies(tmp_path, monkeypatch):
    folder = tmp_path / "power_supply"
    folder.mkdir()
    monkeypatch.setattr(psutil._pslinux, "POWER_SUPPLY_PATH", str(folder))
    monkeypatch.setattr(linux, "POWER_SUPPLIES", folder)
    return folder


@pytest.fixture(autouse=True)
def sensors(monkeypatch):
    chips = {"cpu_thermal": [shwtemp("", 48.2, None, None)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips)
    return chips


class Network:
    def read(self):
        raise Unreadable("no NetworkManager")


def read(tmp_path, **thresholds):
    source = LinuxConditions(
        tmp_path, Thresholds(**thresholds), idle=lambda: Reading(True, ""), network_manager=Network()
    )
    return source.read()


def supply(folder, name, **files):
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_text(f"{content}\n")


def battery(folder, status, capacity=80, name="BAT0", **more):
    supply(folder, name, type="Battery", status=status, capacity=capacity, **more)


def test_a_board_without_a_battery_counts_as_charging(supplies, tmp_path):
    found = read(tmp_path, network="unmetered")
    assert found.eligible, found.explain()
    supplies.rmdir()
    assert read(tmp_path, network="unmetered").eligible  # nor has every kernel such a class


@pytest.mark.parametrize(
    ("status", "mains", "charging"),
    [
        ("Charging", None, True),
        ("Full", None, True),
        ("Discharging", None, False),
        ("Not charging", "1", True),  # held at a limit to spare the battery
        ("Not charging", "0", False),
        ("Unknown", "1", True),
    ],
)
def test_charging_is_being_plugged_in(supplies, tmp_path, status, mains, charging):
    battery(supplies, status)
    if mains is not None:
        supply(supplies, "ADP1", type="Mains", online=mains)
    assert read(tmp_path).charging is charging


def test_a_charger_at_any_port_counts(supplies, tmp_path):
    battery(supplies, "Unknown")
    supply(supplies, "ucsi-source-psy-1", type="USB", online="0")
    supply(supplies, "ucsi-source-psy-2", type="USB", online="1")
    assert read(tmp_path).charging


def test_a_battery_that_does_not_say_is_not_charging(supplies, tmp_path):
    battery(supplies, "Unknown")
    found = read(tmp_path)
    assert not found.charging
    assert "says whether it is plugged in" in found.why["charging"]


@pytest.mark.parametrize("capacity", ["", "many", "-5", "400"])
def test_a_broken_battery_is_unreadable(supplies, tmp_path, capacity):
    battery(supplies, "Charging", capacity)
    assert not read(tmp_path).charged


def test_a_mouse_is_no_battery_of_the_machine(supplies, tmp_path):
    battery(supplies, "Discharging", 3, name="hidpp_battery_0", scope="Device")
    found = read(tmp_path)
    assert found.charging
    assert found.charged


@pytest.mark.parametrize(("capacity", "holds"), [(49, False), (50, True)])
def test_the_battery_must_be_full_enough(supplies, tmp_path, capacity, holds):
    battery(supplies, "Charging", capacity)
    assert read(tmp_path, minimum_battery_percent=50).charged is holds


def test_the_hottest_sensor_counts(supplies, sensors, tmp_path):
    assert read(tmp_path, maximum_temperature_c=50).cool
    sensors["nvme"] = [shwtemp("", 51.0, None, None), shwtemp("", 255.0, None, None)]
    found = read(tmp_path, maximum_temperature_c=50)
    assert not found.cool
    assert found.why["cool"] == "hottest sensor at 51 °C, must be at most 50 °C"


def test_without_a_sensor_the_owner_may_do_without(supplies, sensors, tmp_path):
    sensors.clear()
    found = read(tmp_path)
    assert not found.cool
    assert "maximum_temperature_c = inf" in found.why["cool"]
    assert read(tmp_path, maximum_temperature_c=math.inf).cool


def test_an_unreadable_network_counts_as_metered_unless_declared(supplies, tmp_path):
    found = read(tmp_path)
    assert (found.unmetered, found.why["unmetered"]) == (False, "no NetworkManager")
    assert read(tmp_path, network="unmetered").unmetered


def test_this_very_machine_is_read_without_an_error(tmp_path):
    found = LinuxConditions(tmp_path, Thresholds()).read()
    assert all(found.why.values())
