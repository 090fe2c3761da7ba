"""Liveness asks nobody; readiness asks the database and looks for a coordinator."""

from typing import Any

import pytest

from aggregation_service.coordination.running import CoordinatorThread


def test_both_are_well(rehearsal: Any) -> None:
    for path in ("/health", "/ready"):
        response = rehearsal.request("GET", path)
        assert (response.status_code, response.json) == (200, {"status": "ok"})
        assert response.headers["Cache-Control"] == "no-store"


def test_an_old_database_makes_a_process_unready_but_alive(rehearsal: Any) -> None:
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0001'")
    assert rehearsal.request("GET", "/health").status_code == 200
    response = rehearsal.request("GET", "/ready")
    assert (response.status_code, response.json) == (503, {"status": "unavailable"})


def test_a_silent_coordinator_makes_a_process_unready(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the machine's time: the service's own may stand still, or jump a day."""
    rehearsal.wait(86_400)
    assert rehearsal.request("GET", "/ready").status_code == 200
    monkeypatch.setattr(CoordinatorThread, "silent_s", property(lambda _thread: 10.5))
    response = rehearsal.request("GET", "/ready")
    assert (response.status_code, response.json) == (503, {"status": "unavailable"})
    assert "coordinator_silent" in caplog.text
