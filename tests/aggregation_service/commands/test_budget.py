"""What the budget pays for, against a search that tries every number."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service import operations
from aggregation_service.cli import service
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent

POPULATION = "en-gb"
DELTA = 1e-10


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def run(rehearsal: Any) -> Result:
    path = rehearsal.folder / "service.toml"
    return CliRunner().invoke(service, ["budget", POPULATION, "--config", str(path)], env={"COLUMNS": "200"})


@pytest.mark.parametrize(("noise", "budget"), [(2.0, 12.0), (2.0, 3.0), (5.0, 8.0)])
def test_it_pays_for_as_many_participations_as_a_full_search_finds(
    rehearsal: Any, plans: Any, noise: float, budget: float
) -> None:
    rehearsal.create_task(plans(goal=1, noise=noise, separation_s=86400.0))
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=budget))
    outlook = operations.budget_outlook(rehearsal.config, POPULATION)
    tried = [count for count in range(1, 200) if privacy_spent(noise, count, DELTA).epsilon <= budget]
    assert outlook.affordable == len(tried)
    assert outlook.lasts_s == max(len(tried) - 1, 0) * 86400.0
    assert outlook.spent.epsilon == 0


def test_what_was_spent_is_told_and_no_longer_left(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1, noise=5.0))
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=8.0))
    before = operations.budget_outlook(rehearsal.config, POPULATION)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    after = operations.budget_outlook(rehearsal.config, POPULATION)
    assert (before.affordable, before.participations) == (after.affordable, 0)
    assert after.participations == 1
    assert after.spent == privacy_spent(5.0, 1, DELTA)
    output = run(rehearsal).output
    assert f"ε {after.spent.epsilon:.3g} at δ 1e-10" in output
    assert f"{(after.affordable or 0) - 1} more participation" in output


def test_without_budget_task_or_population_it_says_so(rehearsal: Any) -> None:
    assert "none set" in run(rehearsal).output
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=1.0))
    assert "nothing is trained" in run(rehearsal).output
    path = rehearsal.folder / "service.toml"
    result = CliRunner().invoke(service, ["budget", "nobody", "--config", str(path)])
    assert result.exit_code == 1
    assert "there is no population nobody" in result.output
