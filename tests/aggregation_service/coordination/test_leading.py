"""The leader's keys: each lives as long as its round."""

import gc
import weakref
from typing import Any

import pytest

from aggregation_service import operations
from aggregation_service.operations import EvaluationSettings
from aggregation_service.storage import models
from protocol.evaluation import NO_MODEL, EvaluationSums
from protocol.plan import Plan

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def test_the_key_is_gone_once_the_round_is_over_and_none_follows(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    key = weakref.ref(rehearsal.service.coordinator._leader._keys[POPULATION])
    operations.end_task(rehearsal.config, POPULATION)
    rehearsal.summary()
    gc.collect()
    assert key() is None


def test_the_key_of_an_evaluation_is_gone_with_its_round(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    operations.create_evaluation(
        rehearsal.config, population=POPULATION, settings=EvaluationSettings(minimum_reports=1)
    )
    with rehearsal.service.database.write() as connection:
        training = models.newest_task(connection, POPULATION)
        assert training is not None
        models.end_task(connection, training.id, "cancelled", rehearsal.now)
    selected = rehearsal.select()
    key = weakref.ref(rehearsal.service.coordinator._leader._keys[POPULATION])
    rehearsal.report(selected, EvaluationSums(NO_MODEL, NO_MODEL, 5).to_vector())
    gc.collect()
    assert key() is None
