"""The server's optimiser on the command line: each kind with its own options, and no others."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service.cli import service
from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum
from aggregation_service.storage import models
from protocol.plan import Plan, encode_plan
from protocol.weights import encode_checkpoint

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def create(rehearsal: Any, plan: Plan, *options: str) -> Result:
    folder: Path = rehearsal.folder
    weights = {spec.name: rehearsal.generator.normal(size=spec.shape).astype("float32") for spec in plan.tensors}
    contents = {
        "plan.json": encode_plan(plan),
        "graph.tflite": b"TFL3",
        "weights.safetensors": encode_checkpoint(weights),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = ("--plan", "plan.json", "--training-graph", "graph.tflite", "--checkpoint", "weights.safetensors")
    paths = [part if part.startswith("--") else str(folder / part) for part in files]
    runner = CliRunner(env={CONFIG_VARIABLE: str(folder / "service.toml")})
    return runner.invoke(service, ["task", "create", POPULATION, *paths, "--minimum-reports", "1", *options])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ServerMomentum()),
        (["--server-momentum", "0"], ServerMomentum(momentum=0.0)),
        (["--server-optimizer", "average"], ServerAverage()),
        (["--server-optimizer", "average", "--server-learning-rate", "0.5"], ServerAverage(learning_rate=0.5)),
        (
            ["--server-optimizer", "adam", "--server-beta2", "0.999", "--server-adaptivity", "0.01"],
            ServerAdam(beta2=0.999, adaptivity=0.01),
        ),
    ],
)
def test_a_task_has_the_optimiser_that_was_asked_for(
    rehearsal: Any, plan: Plan, options: list[str], expected: object
) -> None:
    result = create(rehearsal, plan, *options)
    assert result.exit_code == 0, result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.optimizer == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--server-optimizer", "average", "--server-momentum", "0.9"], "has --server-learning-rate, but not"),
        (["--server-optimizer", "adam", "--server-beta1", "1"], "server_beta1 must be in [0, 1), got 1.0"),
        (["--server-optimizer", "sgd"], "'sgd' is not one of 'average', 'momentum', 'adam'"),
    ],
)
def test_what_an_optimiser_does_not_have_is_refused(
    rehearsal: Any, plan: Plan, options: list[str], message: str
) -> None:
    result = create(rehearsal, plan, *options)
    assert result.exit_code != 0
    assert message in result.output
    with rehearsal.service.database.read() as connection:
        assert models.newest_task(connection, POPULATION) is None
