"""Who is in a fleet: by seed, by population, and where a phone lies with it."""

import json

import msgspec
import pytest

from emulator.adversaries.kinds import kind_of
from emulator.rehearsing.drawing import draw_devices, join_times, population_index
from emulator.rehearsing.run import Options
from emulator.rehearsing.world import Layout
from emulator.scenarios.schema import Scenario
from emulator.trace import HOUR_S
from emulator.traces.phone import PhoneTrace

START = 1_000_000.0


@pytest.fixture
def layout(tmp_path):
    made = Layout(folder=tmp_path, is_virtual=True)
    for population in ("english", "german"):
        for person in range(3):
            path = made.texts(population, person)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(["made up"]))
    return made


def scenario(**changes):
    return msgspec.convert({"about": "a test", "days": 1, "devices": 12} | changes, Scenario)


def test_the_same_seed_draws_the_same_fleet_and_another_another(layout):
    drawn = draw_devices(layout, scenario(), START)
    assert drawn == draw_devices(layout, scenario(), START)
    other = draw_devices(layout, scenario(seed=2), START)
    assert [each.hardware for each in drawn] != [each.hardware for each in other]


def test_all_devices_lie_where_the_phone_lies_whatever_the_scenario_says(layout):
    phone = PhoneTrace(adb=("adb", "-s", "emulator-5554"))
    drawn = draw_devices(layout, scenario(traces={"csv": "no-such.csv"}), START, phone=phone)
    assert {each.trace for each in drawn} == {phone}
    assert len({each.hardware for each in drawn}) == 12


def test_populations_take_their_shares_in_turn():
    said = scenario(populations=[{"name": "english", "share": 2}, {"name": "german", "share": 1}])
    assert [population_index(said, index) for index in range(12)] == [0] * 8 + [1] * 4


def test_adversaries_are_the_nearest_number_to_their_share(layout):
    said = scenario(adversaries=[{"kind": "boosted", "share": 0.25}, {"kind": "sybil", "share": 0.1}])
    kinds = sorted(kind_of(each.adversary) for each in draw_devices(layout, said, START))
    assert kinds == ["boosted"] * 3 + ["honest"] * 8 + ["sybil"]


def test_who_joins_later_joins_when_the_scenario_says():
    times = join_times(scenario(traces={"join_share": 1.0, "join_at_h": 3, "join_within_h": 2}), START)
    assert all(START + 3 * HOUR_S <= at <= START + 5 * HOUR_S for at in times)
    assert set(join_times(scenario(), START)) == {START}


def test_a_phone_needs_real_time(tmp_path):
    with pytest.raises(ValueError, match="real_time must be true with a phone"):
        Options(name="x", folder=tmp_path, num_workers=1, phone=PhoneTrace())
