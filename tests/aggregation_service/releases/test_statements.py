"""The statement says of which rounds each update was kept, also after its task has gone."""

from typing import Any

import pytest

from aggregation_service import operations
from aggregation_service.operations import EvaluationSettings
from aggregation_service.privacy.ledger_chain import GENESIS
from aggregation_service.privacy.mechanisms.parameters import Tree
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.privacy.wording import NOT_PROTECTED, ON_GRID
from aggregation_service.releases.statements import state_now
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.storage import books
from protocol.evaluation import EvaluationSums, ModelSums
from protocol.manifest import FileEntry
from protocol.plan import encode_plan

KEPT = "each single update from the service, which keeps it, sealed, until its round closes, for the "


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def run_task(
    rehearsal: Any, plan: Any, rule: Combining, *, rounds: int = 1, minimum_reports: int = 3
) -> PrivacyStatement:
    rehearsal.create_task(plan, minimum_reports=minimum_reports, combining=rule)
    for _ in range(rounds * plan.privacy.report_goal):
        rehearsal.report(rehearsal.select(), rehearsal.update())
    statement = operations.privacy_statement(rehearsal.config, "en-gb")
    assert statement is not None
    return statement


def test_names_the_rules_for_which_updates_were_kept(rehearsal: Any, plans: Any) -> None:
    noised = run_task(rehearsal, plans(noise=1.0), Mean())
    assert (noised.not_protected, noised.mechanism) == (NOT_PROTECTED, "independent Gaussian")
    planned = run_task(rehearsal, plans(), Median(), rounds=0)
    assert planned.not_protected == NOT_PROTECTED  # no device has seen it
    stated = run_task(rehearsal, plans(), Median())
    assert stated.not_protected[0] == KEPT + "coordinate-wise median"
    assert stated.not_protected[2:] == NOT_PROTECTED[1:]
    assert stated.mechanism == (
        "independent Gaussian, and none where the service took the coordinate-wise median of updates"
    )
    assert (stated.epsilon, stated.rho, stated.noise_multiplier) == (None, None, 0.0)


def test_names_rules_of_tasks_that_were_replaced(rehearsal: Any, plans: Any) -> None:
    run_task(rehearsal, plans(), Median())
    run_task(rehearsal, plans(), TrimmedMean(trim=0.2))
    stated = run_task(rehearsal, plans(noise=1.0), Mean())
    assert [sentence.removeprefix(KEPT) for sentence in stated.not_protected if sentence.startswith(KEPT)] == [
        "coordinate-wise mean without the 20 % at each end",
        "coordinate-wise median",
    ]
    assert stated.epsilon is None


def test_a_stream_is_stated_as_it_was_observed_and_limited(rehearsal: Any, plans: Any) -> None:
    """Two devices take turns, two rounds apart."""
    limits = {"mechanism": Tree(restart_every=2), "separation_rounds": 2, "max_participations": 5}
    plan = plans(goal=1, noise=1.0)
    rehearsal.create_task(plan, **limits)
    for device in ("a" * 32, "b" * 32, "a" * 32):
        rehearsal.report(rehearsal.select(device), rehearsal.update())
    stated = operations.privacy_statement(rehearsal.config, "en-gb")
    assert stated is not None
    (stream,) = stated.streams
    assert (stream.rounds, stream.max_participations, stream.min_separation) == (3, 2, 2)
    assert (stream.participation_limit, stream.separation_limit) == (5, 2)
    assert stream.sensitivity == sensitivity(Tree(2), rounds=3, min_separation=2, max_participations=2)
    assert stated.plan_sha256 == (FileEntry.of(encode_plan(plan)).sha256,)
    assert [(each.kind, each.times) for each in stated.released] == [("model", 3)]
    assert stated.noise == ON_GRID


def test_evaluations_are_told_from_the_model(rehearsal: Any, plans: Any) -> None:
    run_task(rehearsal, plans(goal=1, noise=1.0), Mean(), minimum_reports=1)
    settings = EvaluationSettings(report_goal=1, minimum_reports=1, noise_multiplier=3.0)
    operations.create_evaluation(rehearsal.config, population="en-gb", settings=settings)
    sums = EvaluationSums(ModelSums(3.0, 2.0, 4.0), ModelSums(0.0, 0.0, 9.0), 4)
    rehearsal.report(rehearsal.select(), sums.to_vector())
    stated = operations.privacy_statement(rehearsal.config, "en-gb")
    assert stated is not None
    assert [each.kind for each in stated.released] == ["model", "evaluation"]
    assert (len(stated.plan_sha256), len(stated.cohort_sizes)) == (2, 2)


def test_the_ledger_s_newest_row_is_named_whatever_population_it_is_of(rehearsal: Any, plans: Any) -> None:
    with rehearsal.service.database.read() as connection:
        assert state_now(connection, "en-gb", 1e-6).ledger_head == GENESIS
    run_task(rehearsal, plans(goal=1, noise=1.0), Mean(), minimum_reports=1)
    operations.add_population(rehearsal.config, "de-at")
    with rehearsal.service.database.read() as connection:
        head = books.ledger_head(connection)
        stated = [state_now(connection, name, 1e-6) for name in ("en-gb", "de-at")]
    assert [each.ledger_head for each in stated] == [head, head]
    assert [each.max_participations for each in stated] == [1, 0]
