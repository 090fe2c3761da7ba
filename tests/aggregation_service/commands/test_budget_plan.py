"""`keychorus service budget` without a population: a plan of noise as table, JSON and plot."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service.cli import service
from aggregation_service.privacy.mechanisms.parameters import Tree
from aggregation_service.privacy.planning import Deployment, plan_noise

DEPLOYMENT = ["--devices", "400", "--cohort", "40", "--rounds", "24", "--epsilon", "3", "--delta", "1e-6"]


def run(*options: str) -> Result:
    return CliRunner().invoke(service, ["budget", *options], env={"COLUMNS": "80"})


def as_json(*options: str) -> dict[str, Any]:
    result = run(*DEPLOYMENT, "--json", *options)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_the_table_has_a_row_for_each_mechanism_and_fits_a_terminal() -> None:
    result = run(*DEPLOYMENT, "--separation", "7")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "noise for ε 3 at δ 1e-06" in lines[0]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == [
        "independent",
        "tree of 4 rounds",
        "24 bands",
        "3 buffers",
        "devices, 40 a group",
    ]
    assert all(re.fullmatch(r"[0-9.]+", cell) for row in rows for cell in row[1:])
    assert max(map(len, lines)) <= 80
    told = " ".join(" ".join(lines).split())
    assert "24 rounds of 40 of 400 devices; each takes part 4 times at most, 7 rounds apart" in told


def test_json_says_what_the_plan_is_made_of() -> None:
    told = as_json("--separation", "7", "--clip", "0.5", "--weights", "3000", "--restart-every", "4", "--bands", "3")
    deployment = Deployment(
        devices=400,
        cohort=40,
        rounds=24,
        separation_rounds=7,
        epsilon=3.0,
        delta=1e-6,
        l2_clip_norm=0.5,
        num_weights=3_000,
    )
    tree = plan_noise(Tree(4), deployment)
    assert told["participations"] == 4
    shares = told["noise_by_devices"]
    assert (shares["members"], shares["num_honest"]) == (40, 28)
    assert shares["epsilon"] <= 3
    assert told["deployment"]["num_weights"] == 3_000
    assert told["plans"][1] == {
        "mechanism": {"kind": "tree", "restart_every": 4},
        "vectors_kept": 2,
        "sensitivity": tree.sensitivity,
        "noise_multiplier": tree.noise_multiplier,
        "epsilon": tree.epsilon,
        "rms_error": tree.rms_error,
        "largest_error": tree.largest_error,
    }
    assert [plan["vectors_kept"] for plan in told["plans"]] == [0, 2, 2, 3]


def test_separation_is_as_long_as_devices_allow_and_a_limit_counts() -> None:
    longest = as_json()
    assert (longest["deployment"]["separation_rounds"], longest["participations"]) == (10, 3)
    assert as_json("--max-participations", "2")["participations"] == 2


def test_the_plot_is_a_picture_of_its_own_without_scripts(tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    assert run(*DEPLOYMENT, "--separation", "7", "--plot", str(path)).exit_code == 0
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314  # our own
    assert root.tag.endswith("svg")
    assert "<script" not in text
    shown = {element.text for element in root.iter() if element.text}
    assert {"independent", "tree of 4 rounds", "24 bands", "3 buffers", "1", "24"} <= shown
    assert "Noise in each weight by round, ε 3 at δ 1e-06" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "without a POPULATION a plan is made, which needs --devices"),
        (DEPLOYMENT[:-2], "which needs --delta"),
        ([*DEPLOYMENT, "--separation", "11"], "separation_rounds must be between 1 and devices / cohort, 10, got 11"),
        ([*DEPLOYMENT, "--cohort", "0"], "cohort must be between 1 and the 400 devices, got 0"),
        ([*DEPLOYMENT, "--epsilon", "nan"], "epsilon must be > 0 and <= 1e+06, got nan"),
        ([*DEPLOYMENT, "--buffers", "0"], "buffers must be between 1 and 16, got 0"),
        ([*DEPLOYMENT, "--restart-every", "3"], "restart_every must be a power of two"),
        ([*DEPLOYMENT, "--plot", "/nowhere/at/all.svg"], "No such file or directory"),
        (["en-gb", "--json"], "a plan is made without a POPULATION: leave out either that or the options"),
        (["en-gb", *DEPLOYMENT], "a plan is made without a POPULATION: leave out either that or the options"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_sentence(options: list[str], message: str) -> None:
    result = run(*options)
    assert result.exit_code != 0
    assert "Error: " in result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_help_shows_both_uses() -> None:
    output = run("--help").output
    assert "keychorus service budget en-gb" in output
    assert "keychorus service budget --devices 10000000" in output
