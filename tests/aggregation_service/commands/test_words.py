"""New words on the command line: discovered, listed, decided, written to a file."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service.cli import service
from aggregation_service.storage import models
from aggregation_service.storage.discoveries import insert_words
from protocol.discovery.advancing import Discovered

POPULATION = "en-gb"
SMALL = ("--steps", "2,2", "--max-prefixes", "5", "--max-words", "4")


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def trained(rehearsal: Any, plans: Any) -> Any:
    rehearsal.create_task(plans(goal=3))
    return rehearsal


def run(rehearsal: Any, *arguments: str) -> Result:
    config = str(rehearsal.folder / "service.toml")
    return CliRunner().invoke(service, ["words", *arguments, "--config", config], env={"COLUMNS": "120"})


@pytest.fixture
def found(trained: Any) -> Any:
    """Two words came out, the first of more devices."""
    with trained.service.database.write() as connection:
        task = models.newest_task(connection, POPULATION)
        assert task is not None
        insert_words(connection, POPULATION, task.id, [Discovered("zorble", 31.25), Discovered("quib", 7.5)], 60.0)
    return trained


def test_a_discovery_begins_and_tells_what_it_costs(trained: Any) -> None:
    ran = run(trained, "discover", POPULATION, "--noise-multiplier", "2", *SMALL)
    assert ran.exit_code == 0, ran.output
    assert "discovers words of up to 3 letters in 2 levels" in ran.output
    assert "a device in every level is charged ε" in ran.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*SMALL,), "noise_multiplier must be > 0 for a discovery, got 0"),
        ((*SMALL, "--noise-multiplier", "-1"), "noise_multiplier"),
        ((*SMALL, "--noise-multiplier", "1", "--minimum-reports", "9"), "minimum_reports must be <= report_goal 3"),
        ((*SMALL, "--noise-multiplier", "1", "--steps", "4,4"), "a level must have at most 1048576 candidates"),
        ((*SMALL, "--noise-multiplier", "1", "--steps", "9"), "--steps must be 1 to 16 numbers from 1 to 4"),
        ((*SMALL, "--noise-multiplier", "1", "--steps", "two"), "--steps must be 1 to 16 numbers"),
        ((*SMALL, "--noise-multiplier", "1", "--letters", "ba"), "letters must be distinct and in order"),
        ((*SMALL, "--noise-multiplier", "1", "--chance", "0"), "chance"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(trained: Any, arguments: tuple[str, ...], told: str) -> None:
    ran = run(trained, "discover", POPULATION, *arguments)
    assert ran.exit_code != 0
    assert told in ran.output
    assert "Traceback" not in ran.output


def test_words_are_listed_decided_and_written_down(found: Any, tmp_path: Path) -> None:
    listed = run(found, "list", POPULATION)
    assert listed.output.index("zorble") < listed.output.index("quib")
    assert run(found, "approve", POPULATION, "1", "2").output == "2 words are approved\n"
    assert run(found, "reject", POPULATION, "2").output == "1 word is rejected\n"
    assert "zorble" not in run(found, "list", POPULATION, "--status", "rejected").output
    ran = run(found, "export", POPULATION, "--output", str(tmp_path / "words.tsv"))
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "words.tsv").read_bytes() == b"zorble\t31.250\n"
    assert "zorble" not in ran.output


def test_unknown_numbers_and_nothing_to_write_are_refused(found: Any, tmp_path: Path) -> None:
    assert "has no word 7" in run(found, "approve", POPULATION, "7").output
    ran = run(found, "export", POPULATION, "--output", str(tmp_path / "words.tsv"))
    assert ran.exit_code == 1
    assert "has no approved words" in ran.output
    assert not (tmp_path / "words.tsv").exists()
    assert "there is no population" in run(found, "list", "nowhere").output
