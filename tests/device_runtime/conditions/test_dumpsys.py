"""The formats are those of Android's sources; the files in `dumps/` are made up after them, version by version."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.conditions import Unreadable, dumpsys
from device_runtime.conditions.dumpsys import Battery
from device_runtime.conditions.thresholds import Thresholds

DUMPS = Path(__file__).with_name("dumps")
LIMITS = Thresholds(minimum_battery_percent=50, maximum_battery_temperature_c=40)


def dump(name):
    return (DUMPS / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "charging", "charged", "cool"),
    [
        ("battery_5", True, True, True),
        ("battery_14", False, False, False),  # its vendor's section does not count
        ("battery_tv_11", True, True, True),
    ],
)
def test_battery(name, charging, charged, cool):
    battery = Battery(dump(name))
    assert battery.charging().holds is charging
    assert battery.charged(LIMITS).holds is charged
    assert battery.cool(LIMITS).holds is cool


def test_readings_say_what_was_read():
    battery = Battery(dump("battery_14"))
    assert battery.charging().why == "powered by the battery"
    assert battery.charged(LIMITS).why == "battery at 41 %, must be at least 50 %"
    assert battery.cool(LIMITS).why == "battery at 41 °C, must be at most 40 °C"
    assert battery.cool(Thresholds(maximum_battery_temperature_c=math.inf)).holds


@pytest.mark.parametrize(
    ("name", "idle"), [("power_5_asleep", True), ("power_14_awake", False), ("power_14_dozing", True)]
)
def test_power(name, idle):
    assert dumpsys.idle(dump(name)).holds is idle


@pytest.mark.parametrize(
    ("name", "unmetered"),
    [
        ("connectivity_7_wifi", True),
        ("connectivity_10_metered_wifi", False),
        ("connectivity_12_none", False),
        ("connectivity_14_emulator", True),
    ],
)
def test_connectivity(name, unmetered):
    assert dumpsys.unmetered(dump(name)).holds is unmetered


def test_the_default_network_counts_not_another():
    switched = dump("connectivity_14_emulator").replace("default network: 101", "default network: 100")
    assert not dumpsys.unmetered(switched).holds


def test_a_networks_name_cannot_make_it_free():
    named = dump("connectivity_10_metered_wifi").replace("extra: ,", 'extra: "x nc{[ Capabilities: NOT_METERED]}",')
    assert "NOT_METERED" in named
    assert not dumpsys.unmetered(named).holds


def test_a_networks_name_is_never_told():
    assert "AndroidWifi" not in dumpsys.unmetered(dump("connectivity_14_emulator")).why


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Can't find service: battery",
        "  level: x\n  scale: 100",
        "  level: 50\n  scale: 0",
        "  level: 50\n  scale: -1",
        "  level: 5000\n  scale: 100\n  temperature: 99999",
        "  level: ٥٠\n  scale: 100\n  temperature: ٥",
    ],
)
def test_half_a_battery_is_unreadable(text):
    battery = Battery(text)
    for read in (battery.charging, lambda: battery.charged(LIMITS), lambda: battery.cool(LIMITS)):
        with pytest.raises(Unreadable):
            read()


@pytest.mark.parametrize("text", ["", "mWakefulness=", "  mWakefulness=Awake\n  mWakefulness=Asleep\n"])
def test_power_that_does_not_say_is_unreadable(text):
    with pytest.raises(Unreadable):
        dumpsys.idle(text)


def test_a_new_kind_of_wakefulness_is_not_idle():
    assert not dumpsys.idle("  mWakefulness=Daydreaming\n").holds


@pytest.mark.parametrize("text", ["", "Active default network: 7\n", "Active default network: 7\n NetworkAgentInfo{}"])
def test_connectivity_that_does_not_say_is_unreadable(text):
    with pytest.raises(Unreadable):
        dumpsys.unmetered(text)


def mutilated(names):
    """Real dumps, cut, repeated and sprinkled with anything."""

    def mutilate(parts):
        name, start, length, filling = parts
        text = dump(name)
        return text[:start] + filling + text[start + length :]

    return st.tuples(st.sampled_from(names), st.integers(0, 1500), st.integers(0, 300), st.text(max_size=20)).map(
        mutilate
    )


@given(mutilated([path.stem for path in DUMPS.iterdir()]) | st.text())
def test_any_text_is_a_reading_or_unreadable(text):
    battery = Battery(text)
    for read in (
        battery.charging,
        lambda: battery.charged(LIMITS),
        lambda: battery.cool(LIMITS),
        lambda: dumpsys.idle(text),
        lambda: dumpsys.unmetered(text),
    ):
        try:
            reading = read()
        except Unreadable as error:
            reading = (False, str(error))
        assert len(reading[1]) < 120
        assert "\n" not in reading[1]
