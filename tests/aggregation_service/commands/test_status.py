"""`keychorus service status`: the table and the JSON."""

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from aggregation_service import operations
from aggregation_service.commands.status import status
from aggregation_service.storage import models
from aggregation_service.storage.tables import secure_groups


@pytest.fixture
def database_kind() -> str:
    """What is read is the same of both databases, as other tests show."""
    return "sqlite"


def invoke(rehearsal: Any, *options: str) -> str:
    config = str(rehearsal.folder / "service.toml")
    result = CliRunner().invoke(status, ["--config", config, *options], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_and_the_json_say_the_same(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1, noise=1.0))
    rehearsal.report(rehearsal.select(), rehearsal.update())
    rehearsal.summary()
    [told] = [msgspec.json.decode(line) for line in invoke(rehearsal, "--json").splitlines()]
    assert told == msgspec.to_builtins(operations.summaries(rehearsal.config)[0])
    table = invoke(rehearsal)
    assert "en-gb: model version 1, 1 devices seen" in table
    assert "closed" in table
    assert f"{told['epsilon']:.3g}" in table


def test_rounds_without_noise_have_no_bound(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    rehearsal.wait(2000)
    rehearsal.summary()
    assert "∞" in invoke(rehearsal)


def test_training_that_ended_says_why(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    assert "training has ended" not in invoke(rehearsal)
    with rehearsal.service.database.write() as connection:
        models.end_task(connection, 1, "budget_spent", rehearsal.now)
    assert "training has ended: budget spent" in " ".join(invoke(rehearsal).split())


def test_groups_of_secure_aggregation_are_counted_by_outcome(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    assert "groups:" not in invoke(rehearsal)
    ended = [("sharing", None), ("unmasking", None), ("done", None), ("failed", "too_few"), ("failed", "too_few")]
    usual = {"round_id": rehearsal.select().round_id, "ends_at": 0.0, "awaited": 0, "answered": 0, "members": 4}
    with rehearsal.service.database.write() as connection:
        for number, (stage, because) in enumerate(ended):
            row = {**usual, "id": f"{number:032x}", "stage": stage, "failed_because": because, "formed_at": 1.0}
            connection.execute(secure_groups.insert().values(row))
    (told,) = [msgspec.json.decode(line) for line in invoke(rehearsal, "--json").splitlines()]
    assert told["groups"] == {"under_way": 2, "done": 1, "too_few": 2}
    table = " ".join(invoke(rehearsal).split())
    for count in ("2 under way", "1 done", "2 too few"):
        assert count in table


def test_a_service_without_populations_says_what_to_do(tmp_path: Any) -> None:
    operations.initialise(tmp_path / "service")
    result = CliRunner().invoke(status, ["--config", str(tmp_path / "service" / "service.toml")])
    assert "keychorus service population add NAME" in result.output
