"""What an operator may do on the pages, what a viewer may not, and that no other site does it for them."""

import itertools
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from aggregation_service import audit, operations
from aggregation_service.operations.releases import propose_release
from aggregation_service.operators.accounts import Role
from aggregation_service.policy import PopulationPolicy
from aggregation_service.storage import models
from tests.aggregation_service.conftest import POPULATION
from tests.aggregation_service.dashboard.conftest import PASSWORD, visit

HERE = f"/dashboard/populations/{POPULATION}"
FILES = {"prediction_model": b"TFL3"}
DANGEROUS = (f"{HERE}/end-task", f"{HERE}/rollback", f"{HERE}/releases/3/publish")
ACTIONS = (*DANGEROUS, f"{HERE}/releases/2/rollout")


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def released(rehearsal: Any, plan: Any) -> Any:
    """Two releases, a candidate, a task."""
    rehearsal.create_task(plan)
    for _ in range(2):
        operations.publish_release(rehearsal.config, population=POPULATION, files=FILES)
    propose_release(rehearsal.config, population=POPULATION, files=FILES, rollout_percent=10)
    return rehearsal


def log_in(rehearsal: Any, role: Role) -> FlaskClient:
    client: FlaskClient = rehearsal.apps[-1].test_client()
    name = visit(rehearsal, role).name
    page = client.get("/login").text
    form = {"name": name, "password": PASSWORD, "csrf_token": token_of(page), "next": "/dashboard/"}
    assert client.post("/login", data=form).status_code == 303
    return client


def token_of(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return found[1]


def do(client: FlaskClient, path: str, **fields: str) -> str:
    """Sends the form of the page that asks, or of the release's own page, and returns the page it leads to."""
    asking = client.get(path if path in DANGEROUS else path.removesuffix("/rollout"), headers={"Accept": "text/html"})
    assert asking.status_code == 200, asking.text
    form = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]+)"', asking.text)) | fields
    answer = client.post(path, data=form, headers={"Accept": "text/html"})
    assert answer.status_code == 303, answer.text
    return " ".join(client.get(answer.headers["Location"]).text.split())


def states(rehearsal: Any) -> dict[int, tuple[str, int]]:
    found = operations.releases.list_releases(rehearsal.config, POPULATION)
    return {release.id: (release.status, release.rollout_percent) for release in found}


def newest_entry(rehearsal: Any) -> Any:
    with rehearsal.service.database.read() as connection:
        audit.verify(connection)
        return audit.list_entries(connection, limit=1)[0]


def test_a_viewer_sees_no_buttons_and_presses_none(released: Any) -> None:
    client = log_in(released, Role.VIEWER)
    before = states(released)
    for path in (HERE, f"{HERE}/releases/2", f"{HERE}/releases/3"):
        page = client.get(path).text
        assert page.count("<form") == 1, "only that to log out"
        assert 'class="danger"' not in page
    for path in ACTIONS:
        answer = client.post(
            path, data={"csrf_token": token_of(client.get(HERE).text)}, headers={"Accept": "text/html"}
        )
        assert (answer.status_code, answer.mimetype) == (403, "text/html")
        assert "this needs the role operator" in answer.text.lower()
    assert states(released) == before


def test_no_other_site_acts_for_an_operator(released: Any) -> None:
    client = log_in(released, Role.OPERATOR)
    before = states(released)
    for path, form in itertools.product(ACTIONS, ({}, {"csrf_token": "made up", "percent": "5"})):
        answer = client.post(path, data=form, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert states(released) == before


def test_roll_out(released: Any) -> None:
    page = do(log_in(released, Role.OPERATOR), f"{HERE}/releases/2/rollout", percent="25")
    assert "Release 2 is offered to 25 % of the devices." in page
    assert "others have version 0" in page
    assert states(released)[2] == ("released", 25)
    entry = newest_entry(released)
    assert (entry.actor, entry.action) == ("the-operator", "release.rollout_changed")


def test_what_cannot_be_done_is_told(released: Any) -> None:
    page = do(log_in(released, Role.OPERATOR), f"{HERE}/releases/2/rollout", percent="101")
    assert "A roll-out must be 0 to 100 percent, got 101." in page
    assert states(released)[2] == ("released", 100)


def test_a_percentage_that_is_no_number(released: Any) -> None:
    client = log_in(released, Role.OPERATOR)
    form = {"csrf_token": token_of(client.get(HERE).text), "percent": "all"}
    assert client.post(f"{HERE}/releases/2/rollout", data=form).status_code == 400


def test_rollback_asks_first_and_says_to_what(released: Any) -> None:
    client = log_in(released, Role.OPERATOR)
    assert "Roll en-gb back to release 1?" in client.get(f"{HERE}/rollback").text
    assert states(released)[2] == ("released", 100)
    page = do(client, f"{HERE}/rollback")
    assert "Release 1 is offered again, as release 4." in page
    assert states(released) == {
        1: ("reissued", 100),
        2: ("withdrawn", 100),
        3: ("candidate", 10),
        4: ("released", 100),
    }
    assert client.get(f"{HERE}/rollback").status_code == 404, "there is nothing to go back to any more"


def test_a_candidate_is_published(released: Any) -> None:
    page = do(log_in(released, Role.OPERATOR), f"{HERE}/releases/3/publish")
    assert "The files of release 3 are released." in page
    assert states(released)[4] == ("released", 10)


def test_a_gate_is_passed_by_only_in_the_open(released: Any) -> None:
    client = log_in(released, Role.OPERATOR)
    without_gate = dict(re.findall(r'name="([^"]+)" value="([^"]+)"', client.get(f"{HERE}/releases/3/publish").text))
    with released.service.database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(gate_margin=0.001))
    client.post(f"{HERE}/releases/3/publish", data=without_gate)  # what the operator was asked before there was a gate
    assert states(released)[3] == ("candidate", 10)
    assert "despite the gate" in client.get(f"{HERE}/releases/3/publish").text
    do(client, f"{HERE}/releases/3/publish")
    assert newest_entry(released).details["despite_gate"] is True


def test_a_task_is_ended(released: Any) -> None:
    client = log_in(released, Role.OPERATOR)
    page = do(client, f"{HERE}/end-task")
    assert "Task 1 has ended." in page
    assert "ended: cancelled" in page
    assert "End the task …" not in page
    assert "Population en-gb has no task that has not ended." in do(client, f"{HERE}/end-task")


@pytest.mark.parametrize("path", ["none/end-task", "none/rollback", "en-gb/rollback", "en-gb/releases/1/publish"])
def test_nothing_is_asked_about_what_is_not_there(rehearsal: Any, path: str) -> None:
    client = log_in(rehearsal, Role.OPERATOR)
    assert client.get(f"/dashboard/populations/{path}").status_code == 404
