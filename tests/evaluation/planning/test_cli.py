import json
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from made_up_costs import make_costs
from postgres import postgres_server

from evaluation.planning.assumptions import Assumptions
from evaluation.planning.cli import plan
from evaluation.planning.costs import read_costs, unit_costs
from evaluation.planning.plan import Plan

QUICK = ["--mechanism", "independent"]


@pytest.fixture
def costs(tmp_path: Path) -> str:
    path = tmp_path / "costs.json"
    path.write_bytes(msgspec.json.encode(make_costs()))
    return str(path)


def run(*arguments: str):
    return CliRunner().invoke(plan, [*arguments], env={"COLUMNS": "200"})


def test_a_plan_is_printed_as_json(costs: str) -> None:
    result = run("--devices", "20000000", "--costs", costs, "--json", *QUICK)
    assert result.exit_code == 0, result.output
    made = msgspec.json.decode(result.stdout, type=Plan)
    assert {row.name: row.value for row in made.assumed}["devices"] == 20_000_000
    assert len(made.check) == 24


def test_a_plan_is_printed_as_a_table(costs: str) -> None:
    result = run("--costs", costs, *QUICK)
    assert result.exit_code == 0, result.output
    assert "days to 2,000 rounds" in result.stdout
    assert "predicted" not in result.stdout
    assert "predicted" in run("--costs", costs, "--everything", *QUICK).stdout


def test_every_assumption_is_an_option() -> None:
    names = {parameter.name for parameter in plan.params}
    assert {known.name for known in fields(Assumptions)} <= names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "3000000", *QUICK], "selection_timeout_s must be >= "),
        (["--devices", "100", *QUICK], "devices must be >= cohort x separation_rounds"),
        (["--drop-out", "0.5", *QUICK], "over_selection must be >= 1 / (1 - drop_out), 2"),
        (["--epsilon", "0.001", "--delta", "1e-30", *QUICK], "needs a noise_multiplier above"),
    ],
)
def test_what_cannot_be_is_one_sentence(costs: str, options: list[str], message: str) -> None:
    result = run(*options, "--costs", costs)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}" if message != "needs a noise_multiplier above" else "Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_costs_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    result = run("--costs", str(tmp_path / "absent.json"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: absent.json must be costs as `keychorus plan measure` writes them")


@pytest.mark.parametrize("sizes", ["32", "32,32", "1,4", "many"])
def test_sizes_must_be_several(sizes: str) -> None:
    result = run("measure", "--database-url", "postgresql://nobody@localhost/none", "--sizes", sizes)
    assert result.exit_code in {1, 2}
    assert "sizes must be" in result.stderr


@pytest.mark.slow  # starts the service that it measures, and TensorFlow
def test_measured_costs_make_a_plan(tmp_path: Path) -> None:
    output = tmp_path / "costs.json"
    options = ["--size", "small", "--sizes", "3,6", "--rounds", "1", "--group-size", "16", "--workers", "1"]
    with postgres_server() as server:
        url = server.create_database(empty=True)
        result = run("measure", "--database-url", url, *options, "--output", str(output))
    assert result.exit_code == 0, result.output
    assert "not fitted on" in result.stdout
    costs = read_costs(output)
    assert [measured.cohort for measured in costs.runs] == [3, 6]
    assert [measured.phases["report"].count for measured in costs.runs] == [2, 5]
    one = unit_costs(costs.runs).one
    assert one["report"].bytes_in > 2 * costs.num_weights
    assert one["download"].bytes_out > costs.num_weights
    assert one["wait"].bytes_out < one["check_in"].bytes_out < 10_000
    assert 0 < one["wait"].cpu_s < 1
    assert costs.stored.device_bytes > 100
    planned = run("--costs", str(output), "--json", *QUICK)
    assert json.loads(planned.stdout)["measured_by"].startswith("keychorus plan measure --sizes 3,6")
