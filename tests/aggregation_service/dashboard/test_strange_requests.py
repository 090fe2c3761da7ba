"""Whatever is asked of the pages, by an operator or by strangers, they have an answer that is no failure."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aggregation_service import operations
from aggregation_service.operations.releases import propose_release
from aggregation_service.operators.accounts import Role
from tests.aggregation_service.conftest import POPULATION
from tests.aggregation_service.dashboard.conftest import PASSWORD, visit

BEYOND = str(2**31), str(2**63), "9" * 25, "9" * 1500  # longer lines of a request are refused by gunicorn
NUMBERS = st.one_of(st.integers(-3, 3).map(str), st.sampled_from(BEYOND), st.integers().map(str))
TEXTS = st.one_of(NUMBERS, st.just(POPULATION), st.just("\0"), st.text(max_size=20))
NAMES = st.one_of(st.just(POPULATION), st.just(POPULATION), TEXTS)
FIELDS = st.dictionaries(
    st.sampled_from(["before", "to", "percent", "despite_gate", "next", "x"]), st.one_of(NUMBERS, TEXTS), max_size=3
)


@pytest.fixture
def busy(rehearsal: Any, plan: Any) -> Any:
    """A population with all that pages can show or change."""
    rehearsal.create_task(plan)
    rehearsal.post_check_in()
    for _ in range(2):
        operations.publish_release(rehearsal.config, population=POPULATION, files={"prediction_model": b"TFL3"})
    propose_release(rehearsal.config, population=POPULATION, files={"prediction_model": b"TFL3"}, rollout_percent=10)
    return rehearsal


@pytest.fixture(params=["operator", "stranger"])
def client(request: pytest.FixtureRequest, busy: Any) -> FlaskClient:
    client: FlaskClient = busy.apps[-1].test_client()
    if request.param == "operator":
        form = {"name": visit(busy, Role.OPERATOR).name, "password": PASSWORD, "csrf_token": token(client)}
        assert client.post("/login", data=form).status_code == 303
    return client


def token(client: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/login").text)
    assert found
    return found[1]


def pages(client: FlaskClient) -> Iterator[tuple[str, str]]:
    """Methods and rules of all pages, as `("GET", "/dashboard/populations/<name>")`."""
    for rule in client.application.url_map.iter_rules():
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            if rule.rule.startswith("/dashboard") and not rule.rule.endswith("<path:filename>"):
                yield method, rule.rule


def filled(rule: str, data: st.DataObject) -> str:
    """The path of a rule, with a value for each of its variables."""

    def fill(variable: re.Match[str]) -> str:
        return quote(data.draw(NUMBERS if ":" in variable[0] else NAMES), safe="")

    return re.sub("<[^>]+>", fill, rule)


def test_no_request_makes_a_page_fail(client: FlaskClient) -> None:
    csrf_token, known, statuses = token(client), list(pages(client)), Counter[int]()

    @settings(
        max_examples=250,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), page=st.sampled_from(known), fields=FIELDS)
    def send(data: st.DataObject, page: tuple[str, str], fields: dict[str, str]) -> None:
        method, rule = page
        form = fields | {"csrf_token": csrf_token} if method == "POST" else None
        headers = {"Accept": data.draw(st.sampled_from(["text/html", "application/json"]))}
        path = filled(rule, data)
        answer = client.open(path, method=method, query_string=fields, data=form, headers=headers)
        assert answer.status_code < 500, (method, path, fields)
        statuses[answer.status_code] += 1

    send()
    assert {303, 404} <= set(statuses)


def test_a_number_that_no_column_holds_names_nothing(busy: Any) -> None:
    there, here = visit(busy, Role.OPERATOR), f"/dashboard/populations/{POPULATION}"
    for number in BEYOND:
        for path in (f"{here}/releases/{number}", f"{here}/releases/{number}/publish"):
            assert there.get(path).status_code == 404
        for path in (here, "/dashboard/audit"):
            assert there.get(f"{path}?before={number}").status_code == 200  # as without it


def test_there_is_no_page_before_the_first(busy: Any) -> None:
    there = visit(busy, Role.OPERATOR)
    for path in (f"/dashboard/populations/{POPULATION}", "/dashboard/audit"):
        assert [there.get(f"{path}?before={number}").status_code for number in (0, 1, 2)] == [404, 404, 200]
