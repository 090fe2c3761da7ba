import sys

import pytest

from device_runtime.conditions import choice
from device_runtime.conditions.android_adb import AdbConditions
from device_runtime.conditions.choice import UnknownSource, open_conditions
from device_runtime.conditions.interface import AlwaysEligible, NeverEligible
from device_runtime.conditions.linux import LinuxConditions
from device_runtime.conditions.scripted import InvalidScript, ScriptedConditions
from device_runtime.conditions.termux import TermuxConditions
from device_runtime.conditions.thresholds import Thresholds
from device_runtime.conditions.watcher import WatchedConditions


@pytest.mark.parametrize(
    ("name", "kind"), [("linux", LinuxConditions), ("adb", AdbConditions), ("termux", TermuxConditions)]
)
def test_sources_that_may_be_slow_are_watched(tmp_path, name, kind):
    with open_conditions(name, tmp_path, Thresholds()) as source:
        assert isinstance(source, WatchedConditions)
        assert isinstance(source._source, kind)


def test_others_are_not(tmp_path):
    (tmp_path / "night.csv").write_text("seconds,idle,charging,unmetered\n0,yes,yes,yes\n")
    with open_conditions(f"script:{tmp_path / 'night.csv'}", tmp_path, Thresholds()) as source:
        assert isinstance(source, ScriptedConditions)
        assert source.read().eligible
    with open_conditions("always", tmp_path, Thresholds()) as source:
        assert isinstance(source, AlwaysEligible)


def test_auto_knows_termux_linux_and_its_limits(tmp_path, monkeypatch):
    monkeypatch.delenv("TERMUX_VERSION", raising=False)
    assert isinstance(choice._source("auto", tmp_path, Thresholds()), LinuxConditions)
    monkeypatch.setenv("TERMUX_VERSION", "0.118")
    assert isinstance(choice._source("auto", tmp_path, Thresholds()), TermuxConditions)
    monkeypatch.delenv("TERMUX_VERSION")
    monkeypatch.setattr(sys, "platform", "plan9")
    never = choice._source("auto", tmp_path, Thresholds())
    assert isinstance(never, NeverEligible)
    assert "plan9" in never.read().why["idle"]


@pytest.mark.parametrize(("name", "error"), [("moon", UnknownSource), ("script:", InvalidScript), ("", UnknownSource)])
def test_other_names_are_refused(tmp_path, name, error):
    with pytest.raises((error, OSError)), open_conditions(name, tmp_path, Thresholds()):
        pass
