"""Scenario files: the ready ones are sound, and what is wrong with one is told in one sentence."""

import json
import re

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.inspect import type_info as inspected

from emulator.scenarios.reading import (
    FOLDER,
    InvalidScenario,
    check_files,
    find_scenario,
    load_scenario,
    ready_scenarios,
)
from emulator.scenarios.schema import AdversaryShare, Event, Hardware, Model, Population, Task, Traces, Typists

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
        ('[model]\nsize = "big"', 'model.size must be one of full, small, got "big"'),
        ('[[events]]\nat_h = 1\ndo = "dance"', "events[0].do must be one of kill-service, "),
        ('[[adversaries]]\nkind = "boosted"\nshare = 2.5', "adversaries[0].share must be a number <= 1.0, got 2.5"),
        ("[task]\nreport_goal = 3\nminimum_reports = 5", "task: minimum_reports must be <= report_goal = 3, got 5"),
        ("[traces]\nzones_h = [99]", "traces.zones_h[0] must be a number <= 14.0, got 99"),
        ('[[events]]\ndo = "release"', "key events[0].at_h is missing"),
        ('[task]\ndelta = "x"', 'task.delta must be a number, got "x"'),
        ("[hardware]\nseconds_per_step = [2.0, 1.0]", "hardware: seconds_per_step must name the fastest first, got"),
        ("[hardware]\nboth_runtimes = 1", "hardware.both_runtimes must be true or false, got 1"),
        ("[[task]]\nreport_goal = 3", "task must be a table, got [{"),
        ("[traces]\ncsv = true", "traces.csv must be text, got true"),
        ("[task]\ncombining = 2026-01-05", "task.combining must be text, got 2026-01-05"),
        ("[typists]\nwatched = nan", "typists.watched must be a number >= 0.0, got nan"),
        ("[task]\nsecure_aggregation = true\nreport_goal = 4\nminimum_reports = 4", "report_goal must be >= 5 with"),
        ("[[populations]]\ndonor_share = 0.7\nheld_out_share = 0.6", "must leave people for devices, got 1.3 in all"),
        ('[[populations]]\nname = "No Way"', "of at most 32 letters a-z, digits and hyphens that begins with a letter"),
        ('"two\\nlines" = 1', "unknown key two\N{REPLACEMENT CHARACTER}lines"),
        ('"tick`tock" = 1', "unknown key tick`tock"),
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


SECTIONS = {
    "model": ("[model]\n", Model),
    "task": ("[task]\n", Task),
    "traces": ("[traces]\n", Traces),
    "hardware": ("[hardware]\n", Hardware),
    "typists": ("[typists]\n", Typists),
    "populations[0]": ("[[populations]]\n", Population),
    "adversaries[0]": ("[[adversaries]]\n", AdversaryShare),
    "events[0]": ("[[events]]\n", Event),
}
NEEDED = {"adversaries[0]": {"kind": '"random"', "share": "0.1"}, "events[0]": {"at_h": "1", "do": '"release"'}}
KEYS = [(section, field.encode_name) for section, (_, kind) in SECTIONS.items() for field in inspected(kind).fields]


def with_value(section, key, value):
    """A scenario that says `value`, in TOML, at one key, and what it must at others."""
    head, _ = SECTIONS[section]
    lines = {**NEEDED.get(section, {}), key: value}
    return head + "".join(f"{name} = {each}\n" for name, each in lines.items())


def bounds():
    """Each number's key, with a value just beyond each of its bounds."""
    for section, key in KEYS:
        found = next(each for each in inspected(SECTIONS[section][1]).fields if each.encode_name == key).type
        if isinstance(found, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            yield from ((section, key, found.ge - 1) for _ in [0] if found.ge is not None)
            yield from ((section, key, found.gt) for _ in [0] if found.gt is not None)
            yield from ((section, key, found.le + 1) for _ in [0] if found.le is not None)
            yield from ((section, key, found.lt) for _ in [0] if found.lt is not None)


@pytest.mark.parametrize(("section", "key", "value"), list(bounds()))
def test_every_number_has_bounds_and_is_held_to_them(tmp_path, section, key, value):
    with pytest.raises(InvalidScenario) as caught:
        load(tmp_path, with_value(section, key, value))
    assert re.search(
        rf"mine\.toml: {re.escape(section)}\.{key} must be .* (<|<=|>|>=) .*, got {value}", str(caught.value)
    )


def test_no_number_is_without_a_bound_on_either_side():
    for section, key in KEYS:
        found = next(each for each in inspected(SECTIONS[section][1]).fields if each.encode_name == key).type
        if isinstance(found, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            assert (found.ge, found.gt) != (None, None), (section, key)
            assert (found.le, found.lt) != (None, None), (section, key)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_is_told_in_every_section(tmp_path, section):
    with pytest.raises(InvalidScenario) as caught:
        load(tmp_path, with_value(section, "speeed", "1"))
    assert str(caught.value).endswith(f"mine.toml: unknown key {section}.speeed")


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x7f"), max_size=80).map(json.dumps)
PLAIN = st.one_of(
    st.integers().map(str), st.floats().map(str), TEXT, st.booleans().map(lambda said: str(said).lower()),
    st.sampled_from(["2026-01-05", "07:32:00", "1e400", "0x_f", "{}", "[]", "{a = 1}", "9" * 4000, "9" * 5000]),
)  # fmt: skip
TOML = st.one_of(PLAIN, st.lists(PLAIN, max_size=3).map(lambda items: f"[{', '.join(items)}]"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.sampled_from(KEYS), TOML)
def test_whatever_stands_at_a_key_is_taken_or_told_in_one_short_line(tmp_path, place, value):
    section, key = place
    try:
        load(tmp_path, with_value(section, key, value))
    except InvalidScenario as error:
        told = str(error).removeprefix(str(tmp_path / "mine.toml"))
        assert told.startswith((": ", " is not TOML: "))
        assert key in told or " is not TOML" in told
        assert told.isprintable()
        assert len(told) < 600


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"days = = 1", "is not TOML: Invalid value (at line 1, column 8)"),
        (b"\0", "is not TOML: "),
        (b"days = 1", "key about is missing"),
        (b"", "key about is missing"),
        (b"about = '\xff'", "must be in UTF-8, got another byte at 9"),
        (BASE.encode("utf-16"), "must be in UTF-8, got another byte at 0"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"x = " + b"9" * 5000, "is not TOML: Exceeds the limit"),
        (b"#" * 1_000_001, "must have at most 1,000,000 bytes, got more"),
    ],
)
def test_what_is_no_scenario_at_all_is_told(tmp_path, payload, told):
    path = tmp_path / "mine.toml"
    path.write_bytes(payload)
    with pytest.raises(InvalidScenario) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_byte_order_mark_does_no_harm(tmp_path):
    assert load(tmp_path, base="\ufeff" + BASE).devices == 3


@pytest.mark.parametrize("name", ["no-such", "", ".", "x" * 5000, "a\0b"])
def test_no_file_is_told(tmp_path, name):
    with pytest.raises(InvalidScenario, match=r"scenario must be a TOML file or one of .*first-week.*; got "):
        find_scenario(name)
    with pytest.raises(InvalidScenario, match=r"cannot be read: (Is a directory|No such file)"):
        load_scenario(tmp_path / "gone.toml" if name else tmp_path)


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        (".", 'corpus must be "chitchat", "made-up:LANGUAGE" or a file, got '),
        ("x" * 5000, 'corpus must be "chitchat", "made-up:LANGUAGE" or a file, got '),
        ("made-up:xx", 'corpus must be "made-up:" and one of ar, '),
    ],
)
def test_a_corpus_that_is_not_there_is_told_before_anything_long(tmp_path, corpus, told):
    scenario = load(tmp_path, f'[[populations]]\ncorpus = "{corpus}"')
    with pytest.raises(InvalidScenario) as caught:
        check_files(scenario, "mine.toml")
    assert str(caught.value).startswith(f"mine.toml: populations[0].{told}")
