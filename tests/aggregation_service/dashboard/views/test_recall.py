"""Recall as a real evaluation round measured it, and what is said where nothing can be read."""

from typing import Any

import pytest

from aggregation_service.dashboard.views.recall import read_recalls
from aggregation_service.dashboard.views.rounds import newest
from tests.aggregation_service.conftest import POPULATION
from tests.aggregation_service.dashboard.conftest import evaluate

DEVICES = [f"{number:032x}" for number in range(4)]
PAGE = f"/dashboard/populations/{POPULATION}"


def recalls(rehearsal: Any) -> Any:
    with rehearsal.service.database.read() as connection:
        return read_recalls(newest(connection, POPULATION))


def test_no_evaluation(rehearsal: Any, plan: Any, viewer: Any) -> None:
    rehearsal.create_task(plan)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    assert not recalls(rehearsal).rounds
    assert "No evaluation round has closed yet" in viewer.read(PAGE)


def test_an_evaluation_without_noise_is_told_exactly(rehearsal: Any, plan: Any, viewer: Any) -> None:
    rehearsal.create_task(plan)
    evaluate(rehearsal, devices=DEVICES, recall=0.14)
    found = recalls(rehearsal)
    assert found.is_readable
    assert found.standard_error == 0.0
    assert {name: values[0] for name, values in found.measured.items()} == {
        "candidate, first suggestion": pytest.approx(0.14),
        "candidate, among three": pytest.approx(0.24),
        "release in use, first suggestion": pytest.approx(0.12),
    }
    assert "round 1: 14.0 % candidate, first suggestion" in viewer.read(PAGE)


def test_an_evaluation_that_drowns_in_its_noise_is_not_drawn(rehearsal: Any, plan: Any, viewer: Any) -> None:
    rehearsal.create_task(plan)
    evaluate(rehearsal, devices=DEVICES, recall=0.14, noise=1000.0)
    found = recalls(rehearsal)
    assert len(found.rounds) == 1
    assert not found.is_readable
    assert "Too few devices took part in the 1 evaluation round" in viewer.read(PAGE)
