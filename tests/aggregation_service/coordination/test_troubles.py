"""What one population's trouble costs: itself a pause, the others nothing, devices nothing."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete, insert

from aggregation_service import operations
from aggregation_service.coordination import troubles
from aggregation_service.coordination.troubles import FIRST_WAIT_S, LONGEST_WAIT_S, Troubles
from aggregation_service.policy import PopulationPolicy
from aggregation_service.storage.rounds import find_open_round
from aggregation_service.storage.tables import ledger
from protocol.messages import ComeBack
from protocol.update import encode_update

POPULATION, OTHER = "en-gb", "a-a"
TOLD = "population_not_advanced"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The machine's clock, as far as troubles look at it."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(troubles, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def spoil_ledger(rehearsal: Any) -> None:
    """A row that this version cannot read, as a later one might have left."""
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(epsilon_budget=8.0))
    with rehearsal.service.database.write() as connection:
        row = {"population": POPULATION, "event": '{"type":"?"}', "recorded_at": 0.0}
        connection.execute(insert(ledger).values(row | {"previous_sha256": "0" * 64, "sha256": "1" * 64}))


def test_waits_double_to_a_bound_and_end_with_a_success(monotonic: SimpleNamespace) -> None:
    found = Troubles()
    waits = []
    for _ in range(6):
        found.note_failure(POPULATION, ValueError("again"))
        assert not found.is_waiting(OTHER)
        began = monotonic.now
        while found.is_waiting(POPULATION):
            monotonic.now += 0.05
        waits.append(monotonic.now - began)
    assert waits == pytest.approx([FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, *[LONGEST_WAIT_S] * 3], abs=0.051)
    found.note_failure(POPULATION, ValueError("again"))
    found.note_success(POPULATION)
    assert not found.is_waiting(POPULATION)


def test_a_leader_in_trouble_lets_others_live_and_tells_it_seldom(
    rehearsal: Any, plans: Any, monotonic: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    rehearsal.create_task(plans(noise=5.0))
    spoil_ledger(rehearsal)
    operations.add_population(rehearsal.config, "zz-zz")
    coordinator = rehearsal.service.coordinator
    for _ in range(50):  # ten seconds of polls
        monotonic.now += 0.2
        assert coordinator.tick()
    told = [record for record in caplog.records if record.message == TOLD]
    assert 3 <= len(told) <= 7
    with rehearsal.service.database.write() as connection:
        connection.execute(delete(ledger))
    monotonic.now += LONGEST_WAIT_S
    coordinator.tick()
    with rehearsal.service.database.read() as connection:
        assert find_open_round(connection, POPULATION) is not None


def test_devices_do_not_suffer_from_what_the_leader_cannot_do(
    rehearsal: Any, plans: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rehearsal.create_task(plans(noise=5.0))
    cohort = [rehearsal.select() for _ in range(4)]
    spoil_ledger(rehearsal)
    with caplog.at_level(logging.ERROR):
        for selected in cohort[:3]:  # the last of them would close the round
            assert rehearsal.put(selected, encode_update(rehearsal.update())).status_code == 200
    assert TOLD in [record.message for record in caplog.records]
    assert isinstance(rehearsal.post_check_in(), ComeBack)
    with rehearsal.service.database.write() as connection:
        connection.execute(delete(ledger))
    rehearsal.summary()
    assert rehearsal.weights()[0] == 1, "what was reported is not lost"
