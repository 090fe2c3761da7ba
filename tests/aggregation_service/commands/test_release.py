"""What an operator types about releases, and reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service.cli import service

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def run(rehearsal: Any, plans: Any) -> Any:
    rehearsal.create_task(plans(goal=1))
    config = str(rehearsal.folder / "service.toml")

    def run_command(*arguments: str) -> Result:
        return CliRunner().invoke(service, [*arguments, "--config", config], env={"COLUMNS": "200"})

    return run_command


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(b"TFL3")
    return folder


def shown(run: Any, release_id: int) -> dict[str, Any]:
    result = run("release", "show", POPULATION, str(release_id))
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_a_release_is_published_rolled_out_listed_and_taken_back(run: Any, build: Path) -> None:
    for rollout in ("100", "10"):
        result = run("release", "publish", POPULATION, str(build), "--rollout", rollout)
        assert result.output == f"released model version 0 to {POPULATION}: model, privacy_statement\n"
    result = run("release", "rollout", POPULATION, "2", "--percent", "20")
    assert result.output == f"release 2 is offered to 20 % of the devices of {POPULATION}\n"
    assert (shown(run, 2)["rollout_percent"], shown(run, 2)["is_rollback"]) == (20, False)
    result = run("rollback", POPULATION)
    assert result.output == "withdrew 2; release 3 offers model version 0 of release 1 again\n"
    assert (shown(run, 3)["files"], shown(run, 3)["is_rollback"]) == (shown(run, 1)["files"], True)
    table = run("release", "list", POPULATION).output
    for text in ("withdrawn by release 3", "rollback to release 1", "offered again as release 3", "100 %"):
        assert text in table


def test_a_release_is_proposed_to_the_gate(run: Any, build: Path) -> None:
    assert run("population", "policy", POPULATION, "--gate-margin", "0.001").exit_code == 0
    result = run("release", "publish", POPULATION, str(build))
    assert (result.exit_code, "has a gate" in result.output) == (1, True)
    options = ("--report-goal", "5", "--minimum-reports", "2", "--noise-multiplier", "3", "--clip-norm", "50")
    result = run("release", "propose", POPULATION, str(build), "--rollout", "10", *options)
    assert result.output == "release 1 is a candidate; task 2 evaluates it\n"
    assert (shown(run, 1)["status"], shown(run, 1)["rollout_percent"]) == ("candidate", 10)
    result = run("release", "publish", POPULATION, "--candidate", "1", "--despite-gate")
    assert result.exit_code == 0, result.output
    assert shown(run, 2)["status"] == "released"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("release", "publish", POPULATION), "either FOLDER or --candidate"),
        (("release", "show", POPULATION, "7"), "has no release 7"),
        (("release", "rollout", POPULATION, "7", "--percent", "101"), "101 is not in the range"),
        (("release", "list", "nowhere"), "population add nowhere"),
        (("rollback", POPULATION), "needs an earlier release"),
        (("rollback", POPULATION, "--to", "9"), "is number 9"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run: Any, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output


def test_files_that_would_share_a_name_are_refused(run: Any, build: Path) -> None:
    (build / "model.txt").write_text("two of a name")
    result = run("release", "publish", POPULATION, str(build))
    assert (result.exit_code, "would both be named model" in result.output) == (1, True)
