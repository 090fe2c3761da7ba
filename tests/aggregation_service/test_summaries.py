"""Epsilon by round is the ledger's, whatever kind of noise, whatever ended without a release, whatever was lost."""

from typing import Any

import pytest

from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import LedgerEvent, ReleasesLost
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism, Tree
from aggregation_service.storage import books
from tests.aggregation_service.conftest import POPULATION

DEVICES = ("a" * 32, "b" * 32)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def events(rehearsal: Any) -> list[LedgerEvent]:
    with rehearsal.service.database.read() as connection:
        return books.list_events(connection, POPULATION)


def spent(rehearsal: Any, count: int) -> float:
    return spent_on_worst_device(events(rehearsal)[:count], rehearsal.config.privacy_delta).epsilon


def train(rehearsal: Any, reports: bool = True) -> None:
    """A round of two devices; without their reports it ends abandoned."""
    for selected in [rehearsal.select(device) for device in DEVICES]:
        if reports:
            rehearsal.report(selected, rehearsal.update())
    rehearsal.wait(2000)
    rehearsal.summary()


@pytest.mark.parametrize("mechanism", [Independent(), Tree(restart_every=2)])
def test_each_round_is_told_by_the_ledger_up_to_it(rehearsal: Any, plans: Any, mechanism: Mechanism) -> None:
    rehearsal.create_task(plans(goal=2, noise=3.0), over_selection=1.0, mechanism=mechanism)
    for reports in (False, True, False, True, True):
        train(rehearsal, reports)
    summary = rehearsal.summary()
    assert [entry["phase"] for entry in summary["rounds"]] == ["abandoned", "closed", "abandoned", "closed", "closed"]
    told = [spent(rehearsal, count) for count in (1, 2, 3)]
    assert told == sorted(set(told))
    assert [entry["epsilon"] for entry in summary["rounds"]] == [0.0, told[0], told[0], told[1], told[2]]
    assert summary["epsilon"] == told[2]


def test_what_was_lost_counts_from_the_next_round_on(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=2, noise=3.0), over_selection=1.0)
    train(rehearsal)
    lost = ReleasesLost(num_releases=2, after_round=1, noise_multiplier=2.0, l2_clip_norm=1.0)
    with rehearsal.service.database.write() as connection:
        books.append_event(connection, POPULATION, lost, rehearsal.now)
    train(rehearsal, reports=False)
    train(rehearsal)
    told = [spent(rehearsal, count) for count in (1, 2, 3)]
    assert [entry["epsilon"] for entry in rehearsal.summary()["rounds"]] == told


def test_without_noise_there_is_no_bound_from_then_on(rehearsal: Any, plans: Any) -> None:
    for noise in (3.0, 0.0, 3.0):
        rehearsal.create_task(plans(goal=2, noise=noise), over_selection=1.0)
        train(rehearsal)
    first, *others = (entry["epsilon"] for entry in rehearsal.summary()["rounds"])
    assert (first, others) == (spent(rehearsal, 1), [None, None])
