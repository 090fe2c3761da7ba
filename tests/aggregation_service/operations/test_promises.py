"""A plan's promise: the population's budget, frozen with the task, and kept whatever becomes of policy and settings."""

from dataclasses import replace
from typing import Any

import pytest

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from aggregation_service.coordination.budget import exceeds_budget
from aggregation_service.operations.shared import OperationError
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.storage import models
from aggregation_service.storage.models import Task
from protocol import routes
from protocol.manifest import decode_manifest
from protocol.plan import PrivacyPromise, decode_plan

POPULATION = "en-gb"
DELTA = 1e-10


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def set_budget(rehearsal: Any, budget: float | None) -> None:
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=budget))


def active_task(rehearsal: Any) -> Task:
    with rehearsal.service.database.read() as connection:
        task = models.active_task(connection, POPULATION)
    assert task is not None
    return task


def promised(rehearsal: Any) -> PrivacyPromise | None:
    return active_task(rehearsal).plan.privacy.promise


def test_a_plan_promises_the_budget_or_nothing(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(noise=1.0))
    assert promised(rehearsal) is None
    set_budget(rehearsal, 8.0)
    assert promised(rehearsal) is None, "plans are frozen"
    rehearsal.create_task(plans(noise=1.0))
    assert promised(rehearsal) == PrivacyPromise(max_epsilon=8.0, delta=DELTA)


def test_devices_read_the_promise_in_the_plan_that_the_round_names(rehearsal: Any, plans: Any) -> None:
    set_budget(rehearsal, 20.0)
    rehearsal.create_task(plans(noise=2.0))
    manifest = decode_manifest(rehearsal.select().manifest.manifest)
    content = rehearsal.request("GET", routes.file(manifest.files["plan"].sha256)).data
    assert decode_plan(content).privacy.promise == PrivacyPromise(max_epsilon=20.0, delta=DELTA)


def test_what_a_plan_file_promises_is_the_services_to_write(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(noise=1.0))
    set_budget(rehearsal, 2.0)
    rehearsal.create_task(plans(noise=1.0))
    old = active_task(rehearsal).plan
    set_budget(rehearsal, 1.0)
    rehearsal.create_task(old)
    assert promised(rehearsal) == PrivacyPromise(max_epsilon=1.0, delta=DELTA)


@pytest.mark.parametrize("raised", [2.5, None])
def test_a_budget_is_not_raised_above_what_a_running_task_promises(
    rehearsal: Any, plans: Any, raised: float | None
) -> None:
    set_budget(rehearsal, 2.0)
    rehearsal.create_task(plans(noise=1.0))
    with pytest.raises(OperationError) as refused:
        set_budget(rehearsal, raised)
    got = "none" if raised is None else "2.5"
    assert str(refused.value) == (
        f"epsilon_budget must be <= 2, which task 1 promises its devices, got {got}: end the task first"
    )
    assert operations.get_policy(rehearsal.config, POPULATION).epsilon_budget == 2.0
    operations.end_task(rehearsal.config, POPULATION)
    set_budget(rehearsal, raised)
    rehearsal.create_task(plans(noise=1.0))
    expected = None if raised is None else PrivacyPromise(max_epsilon=raised, delta=DELTA)
    assert promised(rehearsal) == expected


def test_a_budget_may_be_lowered_and_raised_again_up_to_the_promise(rehearsal: Any, plans: Any) -> None:
    set_budget(rehearsal, 2.0)
    rehearsal.create_task(plans(noise=1.0))
    for budget in (1.0, 2.0):
        set_budget(rehearsal, budget)
    kept = PopulationPolicy(epsilon_budget=2.0, gate_margin=0.0)
    operations.set_policy(rehearsal.config, POPULATION, kept)
    assert operations.get_policy(rehearsal.config, POPULATION) == kept


def test_an_evaluation_promises_the_budget_of_its_day(rehearsal: Any, plans: Any) -> None:
    set_budget(rehearsal, 2.0)
    rehearsal.create_task(plans(noise=1.0))
    set_budget(rehearsal, 1.0)
    operations.create_evaluation(rehearsal.config, population=POPULATION)
    assert (active_task(rehearsal).kind, promised(rehearsal)) == (
        "evaluation",
        PrivacyPromise(max_epsilon=1.0, delta=DELTA),
    )
    with pytest.raises(OperationError, match="<= 1, which task 2 promises"):
        set_budget(rehearsal, 2.0)


@pytest.mark.parametrize("budget", [None, 1000.0])
def test_a_promise_is_kept_at_its_own_delta_whatever_policy_and_settings_say(
    rehearsal: Any, plans: Any, budget: float | None
) -> None:
    """As after a policy from a backup, or another `privacy_delta` in the configuration."""
    set_budget(rehearsal, privacy_spent(2.0, 3, DELTA).epsilon * 1.0001)
    rehearsal.create_task(plans(goal=1, noise=2.0))
    task = active_task(rehearsal)
    with rehearsal.service.database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(epsilon_budget=budget))
        found = [exceeds_budget(connection, task, participations=count, delta=0.1) for count in (1, 2, 3, 4, 5)]
    assert found == [False, False, False, True, True]


def test_a_service_of_another_delta_promises_at_that(rehearsal: Any, plans: Any) -> None:
    config: ServiceConfig = replace(rehearsal.config, privacy_delta=1e-7)
    set_budget(rehearsal, 2.0)
    rehearsal.create_task(plans(noise=1.0))
    operations.create_evaluation(config, population=POPULATION)
    assert promised(rehearsal) == PrivacyPromise(max_epsilon=2.0, delta=1e-7)
