"""Pages over a real service: a population with rounds behind it, and operators who look at it."""

import base64
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from werkzeug.test import TestResponse

from aggregation_service import operations
from aggregation_service.operations.evaluations import EvaluationSettings, create_evaluation
from aggregation_service.operators.accounts import Role, add_operator, find_operator
from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.parameters import RoundParameters
from protocol.evaluation import EvaluationSums, ModelSums
from protocol.messages import Selected
from tests.aggregation_service.conftest import POPULATION, Rehearsal, make_plan

PASSWORD = "correct horse battery staple"
BUDGET = 20.0


@dataclass
class Visitor:
    """An operator's browser, as far as Flask's test client is one."""

    rehearsal: Any
    name: str

    def get(self, path: str, **headers: str) -> TestResponse:
        told = base64.b64encode(f"{self.name}:{PASSWORD}".encode()).decode()
        sent = {"Accept": "text/html", "Authorization": f"Basic {told}", **headers}
        response: TestResponse = self.rehearsal.request("GET", path, headers=sent)
        return response

    def read(self, path: str) -> str:
        """A page's text, with its white space made one space each."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        return " ".join(response.text.split())


def visit(rehearsal: Any, role: Role) -> Visitor:
    """Makes an operator of a role, once, and returns their browser."""
    name = f"the-{role}"
    with rehearsal.service.database.write() as connection:
        if find_operator(connection, name) is None:
            add_operator(connection, name, password=PASSWORD, role=role, actor="test", now=rehearsal.now)
    return Visitor(rehearsal, name)


@pytest.fixture
def viewer(rehearsal: Any) -> Visitor:
    """Looks at a service with one population, which has nothing to train yet."""
    return visit(rehearsal, Role.VIEWER)


@pytest.fixture
def reader(lived: Rehearsal) -> Visitor:
    """Looks at the population that has lived."""
    return visit(lived, Role.VIEWER)


@dataclass(frozen=True, kw_only=True)
class Life:
    """How large a population is, and how long it lives."""

    devices: int = 14
    rounds: int = 8
    goal: int = 4
    noise: float = 5.0
    evaluated: int = 0  # devices an evaluation; 0 for none


PICTURES = "KEYCHORUS_PICTURES"
PICTURED = Life(devices=150, rounds=36, goal=16, noise=2.0, evaluated=100)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A population that has lived; whoever changes it changes it back."""
    rehearsal = Rehearsal(tmp_path_factory.mktemp("lived"))
    rehearsal.wait(0)
    url = None if request.param == "sqlite" else request.getfixturevalue("postgresql").create_database()
    operations.initialise(rehearsal.folder, clock_path=rehearsal.clock_path, database_url=url)
    operations.add_population(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=BUDGET))
    operations.add_population(rehearsal.config, "de-at")
    rehearsal.restart()
    live(rehearsal, PICTURED if PICTURES in os.environ else Life())
    yield rehearsal
    rehearsal.service.close()


def live(rehearsal: Rehearsal, life: Life) -> None:
    """Rounds closed and abandoned, evaluations, two releases, and a round that is open."""
    devices = [secrets.token_hex(16) for _ in range(life.devices)]
    plan = make_plan(goal=life.goal, noise=life.noise)
    cohort_size = RoundParameters(minimum_reports=1).cohort_size(life.goal)
    rehearsal.create_task(plan, minimum_reports=life.goal * 3 // 4)
    for number in range(life.rounds):
        cohort = [devices[(number * cohort_size + place) % len(devices)] for place in range(cohort_size)]
        here = life.goal // 2 if number % 16 == 2 else cohort_size - number % 4 if number % 8 == 7 else cohort_size
        train(rehearsal, devices=cohort[:here], reports=life.goal // 2 if number % 16 == 5 else life.goal)
        if life.evaluated and number % 6 == 5:
            evaluate(rehearsal, devices=devices[-life.evaluated :], recall=0.12 + 0.001 * number)
        if number in (life.rounds // 2, life.rounds - 1):
            percent = 100 if number < life.rounds - 1 else 25
            files = {"prediction_model": bytes(90_000), "vocabulary": bytes(12_000)}
            operations.publish_release(
                rehearsal.config, population=POPULATION, files=files, rollout_percent=percent, actor="ada"
            )
    last = [rehearsal.select(device) for device in devices[: cohort_size - 1]]
    for selected in last[: life.goal // 3]:
        rehearsal.report(selected, rehearsal.update())


def train(rehearsal: Rehearsal, *, devices: list[str], reports: int) -> None:
    """One round: all of `devices` check in, `reports` of them report, and time goes on until it has ended."""
    cohort = [answer for device in devices if isinstance(answer := rehearsal.post_check_in(device), Selected)]
    for selected in cohort[:reports]:
        rehearsal.wait(float(rehearsal.generator.uniform(20, 320) / reports))
        rehearsal.report(selected, rehearsal.update())
    rehearsal.summary()
    rehearsal.wait(1300)
    rehearsal.summary()


def evaluate(rehearsal: Rehearsal, *, devices: list[str], recall: float, noise: float | None = None) -> None:
    """An evaluation round in which the newest version foresees `recall` of the words, the first one 2 points less."""
    goal = len(devices)
    settings = EvaluationSettings(report_goal=goal, minimum_reports=goal, l2_clip_norm=200.0, noise_multiplier=noise)
    create_evaluation(rehearsal.config, population=POPULATION, baseline_version=0, settings=settings)
    candidate, baseline = ModelSums(recall, recall + 0.1, 5.0), ModelSums(recall - 0.02, recall + 0.07, 5.2)
    update = EvaluationSums(candidate, baseline, 1.0).to_vector() * np.float32(140)  # norm just below 200
    for selected in [rehearsal.select(device) for device in devices]:
        rehearsal.report(selected, update)
    rehearsal.summary()
