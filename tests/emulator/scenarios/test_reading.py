"""Scenario files: the ready ones are sound, and what is wrong with one is told in one sentence."""

import pytest

from emulator.scenarios.reading import (
    FOLDER,
    InvalidScenario,
    check_files,
    find_scenario,
    load_scenario,
    ready_scenarios,
)

BASE = 'about = "a test"\ndays = 1\ndevices = 3\n'


def load(tmp_path, more="", base=BASE):
    path = tmp_path / "mine.toml"
    path.write_text(base + more)
    return load_scenario(path)


def test_ready_scenarios_are_a_dozen_and_sound():
    ready = ready_scenarios()
    assert len(ready) >= 12
    for name, scenario in ready.items():
        check_files(scenario, name)
        assert find_scenario(name) == FOLDER / f"{name}.toml"
        assert all(event.at_h <= 24 * scenario.days for event in scenario.events), name


def test_what_a_file_leaves_out_has_a_default(tmp_path):
    scenario = load(tmp_path)
    assert (scenario.devices, scenario.task.report_goal, scenario.model.size) == (3, 10, "small")


def test_paths_count_from_the_files_own_folder(tmp_path):
    more = '[traces]\ncsv = "t.csv"\n[[populations]]\ncorpus = "c.jsonl"\n'
    scenario = load(tmp_path, more)
    assert scenario.traces.csv == str(tmp_path / "t.csv")
    assert scenario.populations[0].corpus == str(tmp_path / "c.jsonl")
    with pytest.raises(InvalidScenario, match=r"traces\.csv must be a file, got .*t\.csv"):
        check_files(scenario, "mine")
    (tmp_path / "t.csv").touch()
    with pytest.raises(InvalidScenario, match=r"populations\[0\]\.corpus must be .* got .*c\.jsonl"):
        check_files(scenario, "mine")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[task]\nreport_goal = 0", "task.report_goal must be a whole number >= 1, got 0"),
        ("[task]\nreport_gaol = 3", "unknown key task.report_gaol"),
        ("speed = 2", "unknown key speed"),
        ('[model]\nsize = "big"', "model.size must be one of full, small, got 'big'"),
        ('[[events]]\nat_h = 1\ndo = "dance"', "events[0].do must be one of kill-service, "),
        ('[[adversaries]]\nkind = "boosted"\nshare = 2.5', "adversaries[0].share must be a number <= 1.0, got 2.5"),
        ("[task]\nreport_goal = 3\nminimum_reports = 5", "task: minimum_reports must be <= report_goal = 3, got 5"),
        ("[traces]\nzones_h = [99]", "traces.zones_h[0] must be a number <= 14.0, got 99"),
        ('[[events]]\ndo = "release"', "key events[0].at_h is missing"),
        ('[task]\ndelta = "x"', "task.delta must be a number, got 'x'"),
        ("[hardware]\nseconds_per_step = [2.0, 1.0]", "hardware: seconds_per_step must name the fastest first, got"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_bound(tmp_path, more, told):
    with pytest.raises(InvalidScenario) as caught:
        load(tmp_path, more)
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_adversaries_and_populations_must_add_up(tmp_path):
    many = '[[adversaries]]\nkind = "boosted"\nshare = 0.7\n[[adversaries]]\nkind = "random"\nshare = 0.7'
    with pytest.raises(InvalidScenario, match=r"at most 1 in all, got 1\.4"):
        load(tmp_path, many)
    twins = '[[populations]]\nname = "a"\n[[populations]]\nname = "a"'
    with pytest.raises(InvalidScenario, match=r"different names, got a, a"):
        load(tmp_path, twins)


def test_no_toml_and_no_file_are_told(tmp_path):
    with pytest.raises(InvalidScenario, match="is not TOML"):
        load(tmp_path, base="days = = 1")
    with pytest.raises(InvalidScenario, match="key about is missing"):
        load(tmp_path, base="days = 1")
    with pytest.raises(InvalidScenario, match=r"scenario must be a TOML file or one of .*first-week.*; got no-such"):
        find_scenario("no-such")
