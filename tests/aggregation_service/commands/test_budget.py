"""What the budget pays for, against a search that tries every number."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service import operations
from aggregation_service.cli import service
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz, Tree
from protocol.messages import ComeBack

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
    exact = privacy_spent(5.0, 1, DELTA).epsilon
    assert exact <= after.spent.epsilon == pytest.approx(exact, rel=1e-6), "rounding to the grid costs a little"
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


STREAMS = [
    ({"separation_rounds": 1}, 5.0),
    ({"separation_rounds": 3}, 4.0),
    ({"separation_rounds": 2, "max_participations": 3}, 4.0),
]


@pytest.mark.parametrize(("parameters", "budget"), STREAMS)
def test_a_stream_lasts_as_many_rounds_as_are_told(
    rehearsal: Any, plans: Any, parameters: dict[str, int], budget: float
) -> None:
    mechanism = BufferedToeplitz(decays=(0.9, 0.5), scales=(0.2, 0.2))
    rehearsal.create_task(plans(goal=1, noise=4.0), mechanism=mechanism, **parameters)
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=budget))
    outlook = operations.budget_outlook(rehearsal.config, POPULATION)
    assert outlook.affordable is None
    assert outlook.rounds_left is not None
    assert 2 < outlook.rounds_left < 30
    assert f"{outlook.rounds_left} more round" in run(rehearsal).output
    made = 0
    busiest = rehearsal.enrol()
    while made < 30 and not isinstance(selected := first_to_be_taken(rehearsal, busiest), ComeBack):
        rehearsal.report(selected, rehearsal.update())
        made += 1
        left = operations.budget_outlook(rehearsal.config, POPULATION).rounds_left
        assert left in (None, outlook.rounds_left - made)
    assert made == outlook.rounds_left
    assert rehearsal.summary()["task_ended_because"] == "budget_spent"


def test_a_limit_of_participations_within_the_budget_lets_a_stream_run_to_its_end(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1, noise=8.0), mechanism=Tree(8), separation_rounds=9, max_participations=1)
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=9.0))
    assert "65,536 more rounds, even if a device takes part as often as it may" in run(rehearsal).output


def first_to_be_taken(rehearsal: Any, busiest: str) -> Any:
    """The busiest device takes part whenever it may; other devices are new ones."""
    answer = rehearsal.post_check_in(busiest)
    return rehearsal.post_check_in() if isinstance(answer, ComeBack) else answer
