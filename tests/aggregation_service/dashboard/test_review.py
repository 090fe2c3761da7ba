"""The review of new words on its page: seen by viewers, decided by operators, kept out of the logs."""

from typing import Any

import pytest

from aggregation_service import audit, operations
from aggregation_service.operations import DiscoverySettings
from aggregation_service.operators.accounts import Role
from aggregation_service.storage import models
from aggregation_service.storage.discoveries import insert_words
from protocol.discovery.advancing import Discovered
from protocol.discovery.parameters import DiscoveryParameters
from tests.aggregation_service.conftest import POPULATION
from tests.aggregation_service.dashboard.conftest import visit
from tests.aggregation_service.dashboard.test_actions import log_in, token_of

PAGE = f"/dashboard/populations/{POPULATION}/words"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def found(rehearsal: Any, plan: Any) -> Any:
    """Two words came out."""
    rehearsal.create_task(plan)
    with rehearsal.service.database.write() as connection:
        task = models.newest_task(connection, POPULATION)
        assert task is not None
        insert_words(connection, POPULATION, task.id, [Discovered("zorble", 31.25), Discovered("quib", 7.5)], 60.0)
    return rehearsal


def statuses(rehearsal: Any) -> dict[str, str]:
    return {record.word: record.status for record in operations.list_words(rehearsal.config, POPULATION)}


def test_before_any_word_the_page_says_what_to_do(rehearsal: Any, plan: Any) -> None:
    viewer = visit(rehearsal, Role.VIEWER)
    assert f"keychorus service words discover {POPULATION}" in viewer.read(PAGE)
    assert viewer.get("/dashboard/populations/none/words").status_code == 404
    rehearsal.create_task(plan)
    operations.create_discovery(
        rehearsal.config,
        population=POPULATION,
        parameters=DiscoveryParameters(steps=(2, 2), max_prefixes=5),
        settings=DiscoverySettings(noise_multiplier=1.0),
    )
    assert "A discovery runs: level 1 of 2, 757 candidates." in viewer.read(PAGE)


def test_a_viewer_reads_the_words_and_has_no_form(found: Any) -> None:
    client = log_in(found, Role.VIEWER)
    page = client.get(PAGE).text
    assert page.index("zorble") < page.index("quib")
    assert page.count("<form") == 1, "only that to log out"
    assert "checkbox" not in page
    form = {"csrf_token": token_of(page), "status": "approved", "word": "1"}
    assert client.post(PAGE, data=form, headers={"Accept": "text/html"}).status_code == 403
    assert set(statuses(found).values()) == {"found"}


def test_an_operator_decides_and_takes_it_back(found: Any) -> None:
    client = log_in(found, Role.OPERATOR)
    token = token_of(client.get(PAGE).text)
    for status, ids, told in (
        ("approved", ["1", "2"], "2 words are approved."),
        ("rejected", ["2"], "1 word is rejected."),
        ("found", ["1"], "1 word is found."),
    ):
        answer = client.post(PAGE, data={"csrf_token": token, "status": status, "word": ids})
        assert answer.status_code == 303
        assert told in client.get(answer.headers["Location"]).text
    assert statuses(found) == {"zorble": "found", "quib": "rejected"}
    with found.service.database.read() as connection:
        audit.verify(connection)
        entries = audit.list_entries(connection, limit=3)
    assert {entry.actor for entry in entries} == {"the-operator"}
    assert not any("zorble" in str(entry) or "quib" in str(entry) for entry in entries)


def test_no_other_site_decides(found: Any) -> None:
    client = log_in(found, Role.OPERATOR)
    for form in ({}, {"csrf_token": "made up", "status": "approved", "word": "1"}):
        assert client.post(PAGE, data=form, headers={"Accept": "text/html"}).status_code == 400
    assert set(statuses(found).values()) == {"found"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "approved", "word": "one"}, 400),
        ({"status": "approved", "word": "99999999999"}, 400),
        ({"status": "loved", "word": "1"}, 400),
        ({"word": "1"}, 400),
        ({"status": "approved"}, 303),
        ({"status": "approved", "word": "7"}, 303),
    ],
)
def test_forms_that_make_no_sense_change_nothing(found: Any, fields: dict[str, str], status: int) -> None:
    client = log_in(found, Role.OPERATOR)
    form = {"csrf_token": token_of(client.get(PAGE).text), **fields}
    answer = client.post(PAGE, data=form, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert set(statuses(found).values()) == {"found"}
    if status == 303:
        assert ("has no word 7" if "word" in fields else "At least one word must be named") in client.get(PAGE).text


def test_the_page_of_the_population_says_how_many_wait(found: Any) -> None:
    page = visit(found, Role.VIEWER).read(f"/dashboard/populations/{POPULATION}")
    assert "2 to be reviewed" in page
    assert "zorble" not in page
