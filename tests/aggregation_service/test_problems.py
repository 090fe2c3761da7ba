"""Errors that are nobody's report: unknown addresses, wrong methods, and what nobody foresaw."""

import logging
from typing import Any

import pytest

from aggregation_service import problems, service
from aggregation_service.refusals import RefusalKind
from protocol import routes
from protocol.messages import CheckIn, Problem, decode_message

POPULATION = "en-gb"


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "unknown_address"),
        ("GET", "/v1//populations", 404, "unknown_address"),
        ("GET", "/health/", 404, "unknown_address"),
        ("GET", routes.check_ins(POPULATION), 405, "method_not_allowed"),
        ("DELETE", routes.file("0" * 64), 405, "method_not_allowed"),
        ("GET", routes.release(POPULATION), 404, "no_release"),
        ("GET", routes.release("nowhere"), 404, "unknown_population"),
        ("GET", routes.rounds("nowhere"), 401, "not_logged_in"),
    ],
)
def test_every_refusal_is_a_problem_and_counted(rehearsal: Any, method: str, path: str, status: int, kind: str) -> None:
    response = rehearsal.request(method, path)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    problem = decode_message(response.data, Problem)
    assert (problem.status, problem.type) == (status, f"urn:keychorus:problem:{kind}")
    assert (status == 405) == ("Allow" in response.headers)
    with rehearsal.service.database.read() as connection:
        assert connection.exec_driver_sql("SELECT kind, count FROM refusals").all() == [(kind, 1)]


def test_a_failure_leaks_nothing_but_leaves_a_trace_in_the_log(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(service, "has_population", fail)
    with caplog.at_level(logging.ERROR):
        response = rehearsal.request("GET", routes.release(POPULATION))
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert b"secret" not in response.data
    assert b"Traceback" not in response.data
    assert "secret of the house" in caplog.text


def test_a_refusal_stays_a_refusal_when_it_cannot_be_counted(rehearsal: Any, caplog: pytest.LogCaptureFixture) -> None:
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE refusals")
    assert rehearsal.request("GET", "/nothing").status_code == 404
    assert "refusals_not_counted" in caplog.text


def test_every_kind_has_a_status() -> None:
    assert set(problems._STATUS) == set(RefusalKind)
    assert all(400 <= status <= 503 for status in problems._STATUS.values())


def test_health(rehearsal: Any) -> None:
    assert rehearsal.request("GET", "/health").json == {"status": "ok"}


def test_an_unreadable_clock_is_a_failure_told_in_the_log(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    device_id = rehearsal.enrol()
    rehearsal.clock_path.write_bytes(b"")
    message = CheckIn(device_id=device_id, runtime="test", num_examples=3)
    response = rehearsal.post(device_id, routes.check_ins(POPULATION), message)
    assert response.status_code == 500
