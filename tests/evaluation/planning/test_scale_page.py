"""docs/scale.md says what `keychorus plan` says: its table is made again from the commands that it names."""

import re
import shlex
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from evaluation.planning.checking import MEMORY, check_model
from evaluation.planning.cli import plan
from evaluation.planning.costs import DEFAULT_COSTS, read_costs
from evaluation.planning.plan import Plan
from evaluation.planning.rows import Row
from evaluation.planning.table import shown

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text(encoding="utf-8")
CHAPTERS = ("rounds", "privacy", "service", "database", "network", "device")


def commands() -> list[list[str]]:
    """The options of each `keychorus plan` in the page's first block, one a column."""
    block = PAGE.partition("## The figures")[2].partition("\n|")[0].replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(r"^ {4}(keychorus plan .*)$", block, flags=re.MULTILINE)]


def table() -> dict[str, list[str]]:
    """Rows of the page's table of plans."""
    text = PAGE.partition("## The figures")[2]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:2] == "| "]
    wide = len(commands()) + 1
    return {name: cells for name, *cells in rows if len(cells) + 1 == wide and ", " in name}


def planned(options: list[str]) -> dict[str, str]:
    result = CliRunner().invoke(plan, [*options, "--json"])
    assert result.exit_code == 0, result.output
    made = msgspec.json.decode(result.stdout, type=Plan)
    rows: list[tuple[str, Row]] = [(chapter, row) for chapter in CHAPTERS for row in getattr(made, chapter)]
    told = {f"{chapter}, {row.name}": shown(row) for chapter, row in rows}
    (days,) = (name for name in told if name.startswith("rounds, days to "))
    return told | {"rounds, days to all rounds": told[days]}


@pytest.mark.parametrize("column", range(5))
def test_every_figure_is_that_of_its_command(column: int) -> None:
    told = planned(commands()[column])
    found = {name: cells[column] for name, cells in table().items()}
    assert len(found) >= 20
    assert found == {name: told[name] for name in found}


def test_there_is_a_column_for_each_command() -> None:
    assert len(commands()) == 5


def test_the_errors_of_the_model_are_those_of_its_costs() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, flags=re.MULTILINE))
    told: dict[str, list[str]] = {}
    for check in check_model(read_costs(DEFAULT_COSTS).runs):
        if check.quantity not in {MEMORY, "received", "sent"}:
            told.setdefault(str(check.cohort), []).append(f"{100 * check.error:+.0f} %")
    assert {cohort: row.split(" | ") for cohort, row in rows.items()} == told
