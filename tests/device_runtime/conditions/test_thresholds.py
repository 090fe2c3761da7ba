import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.conditions.thresholds import SETTINGS_FILE, InvalidSettings, Thresholds, load_thresholds


def settings(tmp_path, text):
    (tmp_path / SETTINGS_FILE).write_text(text)
    return load_thresholds(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path):
    assert load_thresholds(tmp_path) == Thresholds()


def test_the_file_goes_before_defaults_and_options_before_the_file(tmp_path):
    text = '[conditions]\nidle_minutes = 1\nmaximum_temperature_c = inf\nnetwork = "unmetered"\n[other]\nx = 1\n'
    found = settings(tmp_path, text)
    assert (found.idle_minutes, found.maximum_temperature_c, found.network) == (1, math.inf, "unmetered")
    assert found.minimum_battery_percent == Thresholds().minimum_battery_percent
    overridden = load_thresholds(tmp_path, {"idle_minutes": 2.0, "network": None})
    assert (overridden.idle_minutes, overridden.network) == (2.0, "unmetered")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[conditions]\nidle_minutes = -1", r"idle_minutes must be a number in \[0, 1440\], got -1"),
        ("[conditions]\nidle_minutes = nan", "idle_minutes must be a number"),
        ("[conditions]\nidle_minutes = true", "idle_minutes must be a number"),
        ('[conditions]\nmaximum_load = "low"', "maximum_load must be a number"),
        ("[conditions]\nminimum_battery_percent = 101", "got 101"),
        ('[conditions]\nnetwork = "free"', "network must be one of auto, unmetered, metered, got 'free'"),
        ("[conditions]\nidle_seconds = 1", "got 'idle_seconds'"),
        ("conditions = 3", "must be a table, got int"),
        ("[conditions", "must be TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text, message):
    with pytest.raises(InvalidSettings, match=message):
        settings(tmp_path, text)


def test_a_file_of_other_bytes_is_refused(tmp_path):
    (tmp_path / SETTINGS_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="must be TOML"):
        load_thresholds(tmp_path)


@given(name=st.sampled_from([field.name for field in dataclasses.fields(Thresholds)]), value=st.floats() | st.text())
def test_any_value_is_taken_or_refused_by_name(name, value):
    try:
        told = str(Thresholds(**{name: value}))
    except InvalidSettings as error:
        told = str(error)
    assert name in told
    assert repr(value) in told
