"""Requests get ids; lines and histograms know them by their route."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from aggregation_service import metrics
from aggregation_service.config import render_config
from protocol import routes

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def served(route: str, status: str) -> float:
    labels = {"method": "GET", "route": route, "status": status}
    return metrics.process_registry().get_sample_value("keychorus_request_seconds_count", labels) or 0.0


def behind_proxies(rehearsal: Any, count: int) -> None:
    config = replace(rehearsal.config, trusted_proxies=count)
    (rehearsal.folder / "service.toml").write_text(render_config(config), encoding="utf-8")
    rehearsal.restart()


def test_every_answer_has_an_id_of_its_own(rehearsal: Any) -> None:
    ids = {rehearsal.request("GET", path).headers["X-Request-Id"] for path in ("/health", "/health", "/nowhere")}
    assert len(ids) == 3
    assert all(len(one) == 32 for one in ids)


@pytest.mark.parametrize(
    ("proxies", "sent", "is_taken"),
    [
        (0, "abcdef0123456789", False),
        (1, "abcdef0123456789", True),
        (1, "short", False),
        (1, "a" * 65, False),
        (1, "with space and more", False),
        (1, 'quote"quote', False),
    ],
)
def test_an_id_is_taken_from_a_trusted_proxy_only(rehearsal: Any, proxies: int, sent: str, is_taken: bool) -> None:
    behind_proxies(rehearsal, proxies)
    answered = rehearsal.request("GET", "/health", headers={"X-Request-Id": sent}).headers["X-Request-Id"]
    assert (answered == sent) is is_taken


def test_a_request_is_one_line_without_its_path(rehearsal: Any, caplog: pytest.LogCaptureFixture) -> None:
    sha256 = "ab" * 32
    with caplog.at_level(logging.INFO, logger="aggregation_service"):
        rehearsal.request("GET", routes.file(sha256), query_string={"who": "me"})
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("request ")]
    assert len(told) == 1
    assert "method=GET route=/v1/files/<sha256> status=404" in told[0]
    assert sha256 not in caplog.text
    assert "who" not in caplog.text


def test_the_histogram_counts_by_route_and_unknown_ones_together(rehearsal: Any) -> None:
    route = routes.release("<population>")
    before = (
        served(route, "404"),
        metrics.process_registry().get_sample_value(
            "keychorus_request_seconds_count", {"method": "unknown", "route": "unknown", "status": "404"}
        ),
    )
    rehearsal.request("GET", routes.release(POPULATION))
    rehearsal.request("GET", routes.release("elsewhere"))
    for path in ("/a", "/b"):
        rehearsal.request("BREW", path)
    assert served(route, "404") - before[0] == 2
    after = metrics.process_registry().get_sample_value(
        "keychorus_request_seconds_count", {"method": "unknown", "route": "unknown", "status": "404"}
    )
    assert (after or 0) - (before[1] or 0) == 2


def test_what_machines_ask_often_is_counted_but_not_told(rehearsal: Any, caplog: pytest.LogCaptureFixture) -> None:
    before = served("/health", "200")
    with caplog.at_level(logging.INFO, logger="aggregation_service"):
        rehearsal.request("GET", "/health")
    assert served("/health", "200") - before == 1
    assert caplog.text == ""
