import json

import pytest
from click.testing import CliRunner

from device_runtime.cli import device
from device_runtime.commands.conditions import NOT_ELIGIBLE_EXIT_CODE
from device_runtime.conditions.interface import CONDITIONS


def invoke(*arguments):
    return CliRunner().invoke(device, ["conditions", *map(str, arguments)])


@pytest.fixture
def script(tmp_path):
    def write(row):
        path = tmp_path / "script.csv"
        path.write_text(f"seconds,{','.join(CONDITIONS)}\n0,{row}\n")
        return f"script:{path}"

    return write


def test_a_table_says_what_holds_and_why(script, tmp_path):
    result = invoke("--conditions", script("yes,no,yes,yes,yes"), "--data-dir", tmp_path)
    assert result.exit_code == NOT_ELIGIBLE_EXIT_CODE
    lines = result.output.splitlines()
    assert lines[0].split() == ["condition", "holds", "why"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["idle", "yes"],
        ["charging", "no"],
        ["unmetered", "yes"],
        ["charged", "yes"],
        ["cool", "yes"],
    ]
    assert lines[2].endswith("so says the script's line for second 0")


def test_json_says_the_same_and_the_exit_code_counts(script, tmp_path):
    result = invoke("--conditions", script("1,1,1,1,1"), "--json", "--data-dir", tmp_path)
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found["eligible"] is True
    assert list(found["conditions"]) == list(CONDITIONS)


def test_this_machine_is_read_and_thresholds_count(tmp_path):
    arguments = ("--conditions", "linux", "--json", "--data-dir", tmp_path, "--maximum-temperature-c", "inf")
    found = json.loads(invoke(*arguments, "--network", "unmetered").output)["conditions"]
    assert found["cool"] == {"holds": True, "why": "no limit is set"}
    assert found["unmetered"] == {"holds": True, "why": "declared unmetered in the settings"}
    (tmp_path / "device.toml").write_text('[conditions]\nnetwork = "metered"\n')
    assert json.loads(invoke(*arguments).output)["conditions"]["unmetered"]["holds"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--conditions", "moon"), "conditions must be one of auto, linux, adb, termux, always or script:FILE"),
        (("--conditions", "script:/nowhere.csv"), "No such file or directory: /nowhere.csv"),
        (("--idle-minutes", "-1"), "idle_minutes must be a number in [0, 1440], got -1.0"),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, arguments, message):
    result = invoke(*arguments, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert len(result.output.splitlines()) == 1
