import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.conditions.interface import CONDITIONS
from device_runtime.conditions.scripted import Change, InvalidScript, ScriptedConditions, read_script

CSV = "seconds,idle,charging,unmetered\n0,yes,yes,yes\n60,no,yes,yes\n120,yes,no,no\n"
TOML = """
[[from]]
seconds = 0
idle = true
charging = true
unmetered = true
[[from]]
seconds = 60
idle = false
charging = true
unmetered = true
[[from]]
seconds = 120
idle = true
charging = false
unmetered = false
"""


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.toml", TOML)])
def test_a_script_is_played(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    now = [1000.0]
    source = ScriptedConditions(read_script(tmp_path / name), lambda: now[0])
    played = {}
    for second in (0, 59.9, 60, 119, 120, 10_000):
        now[0] = 1000.0 + second
        played[second] = source.read().missing
    assert played == {
        0: (),
        59.9: (),
        60: ("idle",),
        119: ("idle",),
        120: ("charging", "unmetered"),
        10_000: ("charging", "unmetered"),
    }


def test_battery_and_heat_may_be_scripted_too(tmp_path):
    (tmp_path / "a.csv").write_text("seconds,idle,charging,unmetered,charged,cool\n0,1,1,1,0,0\n")
    assert ScriptedConditions(read_script(tmp_path / "a.csv")).read().missing == ("charged", "cool")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "it has no line"),
        ("a.csv", "seconds,idle\n0,yes\n", "got none of charging, unmetered"),
        ("a.csv", CSV + "180,maybe,yes,yes\n", "yes or no, got 'maybe'"),
        ("a.csv", CSV + "later,yes,yes,yes\n", "later"),
        ("a.csv", CSV + "nan,yes,yes,yes\n", "seconds must be >= 0, got nan"),
        ("a.csv", CSV + "-1,yes,yes,yes\n", "seconds must be >= 0"),
        ("a.csv", CSV.replace("idle", "bored"), "idle"),
        ("a.csv", CSV + "1,yes,yes,yes,yes\n", "a column must be"),
        ("a.toml", "[[from", "script of conditions"),
        ("a.toml", "from = 3", "script of conditions"),
        ("a.toml", TOML + "bored = true", "got 'bored'"),
    ],
)
def test_what_is_no_script_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidScript, match=message):
        read_script(tmp_path / name)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans())), st.floats(0, 200))
def test_the_last_line_before_now_counts(lines, now):
    changes = [Change(seconds, dict.fromkeys(CONDITIONS, holds)) for seconds, holds in lines]
    time = iter([0.0, now])
    found = ScriptedConditions(changes, lambda: next(time)).read()
    past = [line for line in sorted(lines, key=lambda line: line[0]) if line[0] <= now]
    assert found.eligible is (bool(past) and past[-1][1])
