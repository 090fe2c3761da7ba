import sys
import time

import pytest

from device_runtime.conditions.interface import Unreadable
from device_runtime.conditions.probes import answer, ask_all, charge, declared_network, no_limit, temperature
from device_runtime.conditions.thresholds import Thresholds


def python(program):
    return sys.executable, "-c", program


def test_commands_run_side_by_side_and_fail_each_for_itself():
    began = time.monotonic()
    answers = ask_all(
        {
            "good": python("print('x' * 100_000)"),
            "failing": python("raise SystemExit(3)"),
            "absent": ("no-such-command-here",),
            "slow": python("import time; time.sleep(60)"),
            "slow too": python("import time; time.sleep(60)"),
        },
        timeout_s=1.0,
    )
    assert time.monotonic() - began < 3
    assert answer(answers, "good") == "x" * 100_000 + "\n"
    for name, why in [
        ("failing", "failed with code 3"),
        ("absent", "no-such-command-here is not installed"),
        ("slow", "did not answer in time"),
        ("slow too", "did not answer in time"),
    ]:
        with pytest.raises(Unreadable, match=why):
            answer(answers, name)


def test_bytes_that_are_no_text_are_still_read():
    assert answer(ask_all({"a": python("import os; os.write(1, b'\\xff\\n')")}, 5), "a") == "\ufffd\n"


def test_thresholds_are_inclusive():
    thresholds = Thresholds(minimum_battery_percent=50)
    assert charge(50, thresholds).holds
    assert not charge(49.9, thresholds).holds
    assert temperature("board", 70, 70).holds
    assert not temperature("board", 70.1, 70).holds


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), float("inf")])
def test_an_impossible_charge_is_unreadable(percent):
    with pytest.raises(Unreadable):
        charge(percent, Thresholds())


@pytest.mark.parametrize("celsius", [-273.15, 255, float("nan")])
def test_an_impossible_temperature_is_unreadable(celsius):
    with pytest.raises(Unreadable):
        temperature("board", celsius, 70)


def test_limits_and_networks_may_be_declared():
    assert no_limit(float("inf")).holds
    assert no_limit(70) is None
    assert declared_network(Thresholds()) is None
    assert declared_network(Thresholds(network="unmetered")).holds
    assert not declared_network(Thresholds(network="metered")).holds
