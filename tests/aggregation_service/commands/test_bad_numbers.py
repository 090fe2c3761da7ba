"""Absurd numbers on the command line: each is refused in one sentence, and nothing is changed by it."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from aggregation_service.cli import service
from aggregation_service.commands.privacy import privacy
from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.storage.tables import audit, ledger
from aggregation_service.storage.tables import tasks as table
from protocol.plan import Plan, encode_plan
from protocol.weights import encode_checkpoint

POPULATION = "en-gb"
HUGE = str(10**30)
NO_NUMBERS = ("nan", "inf", "-inf", "1e400")
NO_COUNTS = ("-1", "1.5", "nan", HUGE)
DEPLOYMENT = {"--devices": "400", "--cohort": "40", "--rounds": "24", "--epsilon": "3", "--delta": "1e-6"}


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def rows(rehearsal: Any) -> tuple[int, ...]:
    with rehearsal.service.database.read() as connection:
        return tuple(connection.scalar(select(func.count()).select_from(each)) for each in (ledger, table, audit))


def refuse(rehearsal: Any, words: list[str], group: Any = service) -> None:
    """The command fails with a sentence, not with a trace, and leaves no row."""
    before = rows(rehearsal)
    result = CliRunner(env={CONFIG_VARIABLE: str(rehearsal.folder / "service.toml")}).invoke(group, words)
    assert result.exit_code in {1, 2}, result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Error: " in result.output
    assert "Traceback" not in result.output
    assert rows(rehearsal) == before


PLANS = [
    *((name, value) for name in ("--cohort", "--rounds") for value in ("0", *NO_COUNTS)),
    *(("--devices", value) for value in ("0", "-1", "1.5", "nan")),
    *((name, value) for name in ("--separation", "--weights") for value in ("0", *NO_COUNTS)),
    *(("--max-participations", value) for value in ("-1", "1.5", "nan")),
    *((name, value) for name in ("--epsilon", "--clip") for value in ("0", "-1", "1e308", "1e-320", *NO_NUMBERS)),
    *(("--delta", value) for value in ("0", "-1", "1", "1e308", *NO_NUMBERS)),
    *((name, value) for name in ("--buffers", "--restart-every") for value in ("0", *NO_COUNTS)),
    *(("--bands", value) for value in ("0", "-1", "1.5", "nan")),
]


@pytest.mark.parametrize(("name", "value"), PLANS)
def test_a_plan_of_absurd_numbers_is_refused(name: str, value: str) -> None:
    words = [word for pair in (DEPLOYMENT | {name: value}).items() for word in pair]
    result = CliRunner().invoke(service, ["budget", *words])
    assert result.exit_code in {1, 2}, result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Error: " in result.output


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("--epsilon-budget", ("0", "-1", "1001", "1e308", *NO_NUMBERS)),
        ("--gate-margin", ("-1.5", "2", *NO_NUMBERS)),
        ("--gate-standard-errors", ("-1", "11", *NO_NUMBERS)),
        ("--keep-checkpoints", ("0", *NO_COUNTS)),
    ],
)
def test_a_policy_of_absurd_numbers_is_refused(rehearsal: Any, name: str, values: tuple[str, ...]) -> None:
    for value in values:
        refuse(rehearsal, ["population", "policy", POPULATION, name, value])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("--minimum-reports", ("0", *NO_COUNTS)),
        ("--over-selection", ("0", "-1", "0.5", "1e308", *NO_NUMBERS)),
        ("--min-examples", ("-1", "1.5", "nan", HUGE)),
        ("--selection-timeout-s", ("-1", "0", "1e308", *NO_NUMBERS)),
        ("--report-deadline-s", ("-1", "0", "1e308", *NO_NUMBERS)),
        ("--gather-s", ("-1", "1e308", *NO_NUMBERS)),
        ("--stage-timeout-s", ("-1", "0", "1e308", *NO_NUMBERS)),
        ("--poll-s", ("0", "3601", *NO_COUNTS)),
        ("--server-learning-rate", ("0", "-1", *NO_NUMBERS)),
        ("--server-momentum", ("-1", "1", *NO_NUMBERS)),
        ("--max-participations", NO_COUNTS),
        ("--planned-rounds", ("0", *NO_COUNTS)),
        ("--separation-rounds", ("0", *NO_COUNTS)),
    ],
)
def test_a_task_of_absurd_numbers_is_refused(rehearsal: Any, plan: Plan, name: str, values: tuple[str, ...]) -> None:
    folder: Path = rehearsal.folder
    weights = {spec.name: rehearsal.generator.normal(size=spec.shape).astype("float32") for spec in plan.tensors}
    files = {"--plan": encode_plan(plan), "--training-graph": b"TFL3", "--checkpoint": encode_checkpoint(weights)}
    words = ["task", "create", POPULATION, "--plain-updates"]
    for option, content in files.items():
        path = folder / f"{option.strip('-')}.json"
        path.write_bytes(content)
        words += [option, str(path)]
    settings = {"--minimum-reports": "1"}
    if name in {"--max-participations", "--planned-rounds", "--separation-rounds"}:
        settings |= {"--mechanism": "buffered", "--planned-rounds": "8", "--separation-rounds": "2"}
    for value in values:
        chosen = [word for pair in (settings | {name: value}).items() for word in pair]
        refuse(rehearsal, [*words, *chosen])


@pytest.mark.parametrize("value", ["-1", "0", "1.5", "nan", HUGE])
def test_releases_that_cannot_be_are_refused(rehearsal: Any, value: str) -> None:
    for words in (["verify", POPULATION, "--release", value], ["statement", POPULATION, "--release", value]):
        refuse(rehearsal, words, privacy)
    refuse(rehearsal, ["rollback", POPULATION, "--to", value])
    refuse(rehearsal, ["release", "rollout", POPULATION, value, "--percent", "5"])
