"""Who may read metrics, and that they say what the service's books say."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aggregation_service import metrics, operations
from aggregation_service.config import render_config
from aggregation_service.policy import PopulationPolicy

POPULATION = "en-gb"


def ask(rehearsal: Any, address: str = "127.0.0.1", **headers: str) -> Any:
    environment = {"REMOTE_ADDR": address}
    return rehearsal.request("GET", "/metrics", environ_overrides=environment, headers=headers)


def read(rehearsal: Any) -> dict[tuple[str, ...], float]:
    response = ask(rehearsal)
    assert response.status_code == 200
    families = text_string_to_metric_families(response.text)
    return {
        (sample.name, *(value for _name, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


READERS: tuple[tuple[dict[str, Any], str, dict[str, str], int], ...] = (
    ({}, "127.0.0.1", {}, 200),
    ({}, "127.1.2.3", {}, 200),
    ({}, "::1", {}, 200),
    ({}, "192.0.2.7", {}, 404),
    ({}, "", {}, 404),
    ({}, "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
    ({"trusted_proxies": 1}, "127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 404),
    ({"trusted_proxies": 1}, "10.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 200),
    ({"metrics_networks": "192.0.2.0/24"}, "192.0.2.7", {}, 200),
    ({"metrics_networks": "192.0.2.0/24"}, "127.0.0.1", {}, 404),
    ({"metrics_networks": ""}, "127.0.0.1", {}, 404),
)


def test_only_allowed_networks_may_read(rehearsal: Any) -> None:
    made = rehearsal.config
    for changes, address, headers, status in READERS:
        (rehearsal.folder / "service.toml").write_text(render_config(replace(made, **changes)), encoding="utf-8")
        rehearsal.restart()
        response = ask(rehearsal, address, **headers)
        assert response.status_code == status, (changes, address, headers)
        assert (b"keychorus_" in response.data) is (status == 200)


def test_rounds_phases_and_privacy_are_those_of_the_database(rehearsal: Any, plans: Any) -> None:
    policy = PopulationPolicy(epsilon_budget=50.0)
    operations.set_policy(rehearsal.config, POPULATION, policy)
    rehearsal.create_task(plans(goal=2, noise=1.0), over_selection=1)
    for _ in range(2):
        rehearsal.report(rehearsal.select(), rehearsal.update())
    rehearsal.service.coordinator.tick()
    rehearsal.select()
    told = read(rehearsal)
    (summary,) = operations.summaries(rehearsal.config)
    assert told["keychorus_rounds_total", "closed", POPULATION] == 1
    assert told["keychorus_open_round", "selection", POPULATION] == 1
    assert told["keychorus_epsilon_spent", POPULATION] == pytest.approx(summary.epsilon)
    assert told["keychorus_epsilon_budget", POPULATION] == 50.0
    assert told["keychorus_database_up",] == 1


def test_a_takeover_is_seen(rehearsal: Any) -> None:
    epoch = read(rehearsal)["keychorus_coordinator_epoch",]
    rehearsal.restart()
    assert read(rehearsal)["keychorus_coordinator_epoch",] == epoch + 1


def test_who_only_waits_for_the_lead_does_not_hide_that_its_holder_stands_still(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for at, is_leader in ((1000.0, True), (1040.0, False), (1041.0, True)):
        monkeypatch.setattr(metrics.time, "time", lambda at=at: at)
        metrics.coordinator_looked(is_leader=is_leader)
        told.append(read(rehearsal)["keychorus_coordinator_tick_timestamp_seconds",])
    assert told == [1000.0, 1000.0, 1041.0]


def test_accepted_reports_and_refusals_are_counted(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=3))
    before = read(rehearsal)
    selected = rehearsal.select()
    rehearsal.report(selected, rehearsal.update())
    assert rehearsal.put(selected, b"again").status_code == 409
    after = read(rehearsal)

    def grown(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert grown("keychorus_reports_accepted_total", POPULATION) == 1
    assert grown("keychorus_report_bytes_total", POPULATION) > 37 * 4
    assert grown("keychorus_flush_updates_sum") == 1
    assert grown("keychorus_refusals_total", "duplicate_report") == 1


def test_a_database_that_is_gone_hides_only_its_own_part(rehearsal: Any) -> None:
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE populations RENAME TO hidden")
    try:
        told = read(rehearsal)
    finally:
        with rehearsal.service.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO populations")
    assert told["keychorus_database_up",] == 0
    assert any(key[0] == "keychorus_request_seconds_count" for key in told)
    assert ("keychorus_epsilon_spent", POPULATION) not in told
