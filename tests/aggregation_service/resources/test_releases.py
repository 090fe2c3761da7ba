from typing import Any

import pytest

from aggregation_service import operations
from protocol import routes
from protocol.manifest import SignedManifest
from protocol.messages import decode_message

POPULATION = "en-gb"
PATH = routes.release(POPULATION)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def test_without_a_release_the_answer_is_a_problem(rehearsal: Any) -> None:
    response = rehearsal.request("GET", PATH)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


def test_an_answer_is_for_one_device_and_not_for_a_cache(rehearsal: Any) -> None:
    operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"1"})
    response = rehearsal.request("GET", PATH)
    assert decode_message(response.data, SignedManifest)
    assert response.headers["Vary"] == "Keychorus-Signature"
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_the_same_signed_question_twice_has_the_same_answer(rehearsal: Any) -> None:
    operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"1"})
    headers = rehearsal.sign(rehearsal.enrol(), "GET", PATH)
    answers = [rehearsal.request("GET", PATH, headers=headers) for _ in range(2)]
    assert answers[0].status_code == 200
    assert answers[0].data == answers[1].data


@pytest.mark.parametrize("stranger", [True, False], ids=["never enrolled", "signed by another key"])
def test_strangers_are_refused(rehearsal: Any, stranger: bool) -> None:
    operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"1"})
    device = "ab" * 16 if stranger else rehearsal.enrol()
    rehearsal.keys.pop(device, None)
    response = rehearsal.request("GET", PATH, headers=rehearsal.sign(device, "GET", PATH))
    assert response.status_code in (401, 403)
