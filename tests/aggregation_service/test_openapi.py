"""The document against the app, and the app against thousands of requests made from the document."""

import base64
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from typing import Any, get_args
from wsgiref.types import StartResponse, WSGIEnvironment

import hypothesis
import msgspec
import numpy as np
import pytest
import schemathesis
from flask import Flask
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from signing_device import SigningDevice

from aggregation_service import operations
from aggregation_service.config import render_config
from aggregation_service.openapi.document import openapi_document
from aggregation_service.openapi.examples import EXAMPLES
from aggregation_service.openapi.routes import PAGES, ROUTES
from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import Role, add_operator
from aggregation_service.problems import status_of
from aggregation_service.refusals import RefusalKind
from protocol import routes
from protocol.messages import CheckInAnswer, Selected, decode_message
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.update import UPDATE_MEDIA_TYPE, encode_update

POPULATION = "en-gb"
PASSWORD = "a long enough passphrase"
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def document(rehearsal: Any) -> dict[str, Any]:
    response = rehearsal.request("GET", "/openapi.json")
    assert (response.status_code, response.data) == (200, openapi_document())
    told: dict[str, Any] = msgspec.json.decode(response.data)
    return told


def test_no_route_is_forgotten_and_none_invented(rehearsal: Any) -> None:
    app: Flask = rehearsal.apps[-1]
    served = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith(PAGES)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {(route.method, route.rule) for route in ROUTES}
    assert len(ROUTES) == len(served)


def test_every_refusal_is_told_by_some_route(document: dict[str, Any]) -> None:
    """But what no route of the document can answer: other addresses and methods."""
    told = {kind for route in ROUTES for kind in route.all_refusals}
    assert set(RefusalKind) - told == {RefusalKind.METHOD_NOT_ALLOWED}
    for route in ROUTES:
        path = route.rule.replace("<", "{").replace(">", "}")
        answers = document["paths"][path][route.method.lower()]["responses"]
        assert {str(status_of(kind)) for kind in route.all_refusals} <= set(answers)


def test_every_message_has_an_example_that_its_type_accepts() -> None:
    bodies = [body for route in ROUTES for body in (route.takes, *route.answers.values())]
    types = {member for body in bodies for member in (get_args(body) or (body,)) if isinstance(member, type)}
    assert types <= set(EXAMPLES)
    for message_type, example in EXAMPLES.items():
        assert msgspec.to_builtins(msgspec.convert(example, message_type)) == example


def test_operations_are_named_apart(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(ROUTES)


class Disguise:
    """A WSGI app before the app: turns requests of nobody into those of an enrolled device or an operator.

    The fuzzer's requests then get behind signatures and logins; of three, one stays what it was.
    """

    def __init__(self, app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]], device: SigningDevice) -> None:
        self.app = app
        self.device = device
        self.selected: Selected | None = None
        self.statuses: dict[str, int] = {}
        self.turn = itertools.count()
        login = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
        self.credentials = f"Basic {login}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if next(self.turn) % 3:
            path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
            is_admin = path.startswith("/v1/admin") or path.endswith("/rounds")
            if is_admin:
                environ["HTTP_AUTHORIZATION"] = self.credentials
            elif environ["REQUEST_METHOD"] in {"POST", "PUT"}:
                self._sign(environ, path)

        def count(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            self.statuses[status[:3]] = self.statuses.get(status[:3], 0) + 1
            return start_response(status, headers, *rest)

        return self.app(environ, count)

    def _sign(self, environ: WSGIEnvironment, path: str) -> None:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        if self.selected is not None and environ["REQUEST_METHOD"] == "PUT" and next(self.turn) % 2:
            path = routes.report(self.selected.round_id, self.selected.assignment_id)
            environ |= {"PATH_INFO": path, "HTTP_AUTHORIZATION": f"Bearer {self.selected.assignment_token}"}
        query = environ.get("QUERY_STRING", "")
        signed = self.device.sign(environ["REQUEST_METHOD"], f"{path}?{query}" if query else path, body)
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed.headers.items()}


@pytest.fixture
def disguise(rehearsal: Any, plans: Any, monkeypatch: pytest.MonkeyPatch) -> Disguise:
    """A service with a population, a task, an open round, an enrolled device and an operator."""
    monkeypatch.setattr(accounts, "_matches", lru_cache(accounts._matches))  # a tenth of a second each time
    patient = replace(rehearsal.config, login_rate_limit="1000000/minute")  # the fuzzer guesses passwords, too
    (rehearsal.folder / "service.toml").write_text(render_config(patient), encoding="utf-8")
    rehearsal.restart()
    rehearsal.service.thread.start()  # without which no process is ready for long
    rehearsal.create_task(plans(goal=2), over_selection=10)
    rehearsal.post_check_in()
    with rehearsal.service.database.write() as connection:
        add_operator(connection, "ada", password=PASSWORD, role=Role.OPERATOR, actor="test", now=rehearsal.now)
    device = SigningDevice(POPULATION, rehearsal.service.public_key, now=lambda: rehearsal.now)
    token = operations.create_enrolment_token(rehearsal.config, POPULATION, uses=5, days=1).token
    enrolment = device.enrol(token)
    response = rehearsal.request("POST", enrolment.path, data=enrolment.body, headers=enrolment.headers)
    assert response.status_code == 200, response.json
    disguise = Disguise(rehearsal.apps[-1].wsgi_app, device)
    asked = device.check_in()
    response = rehearsal.request("POST", asked.path, data=asked.body, headers=asked.headers)
    answer: CheckInAnswer = decode_message(response.data, CheckInAnswer)  # type: ignore[arg-type]
    assert isinstance(answer, Selected)
    disguise.selected = answer
    return disguise


@schemathesis.serializer(UPDATE_MEDIA_TYPE, SECURE_MEDIA_TYPE)
def update_of(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """What was generated; a real update in place of a number or a truth value."""
    if isinstance(value, int | float | bool):
        return encode_update(np.full(37, 1e-3, np.float32))
    return value if isinstance(value, bytes) else msgspec.json.encode(value)


def fuzz(disguise: Disguise, num_requests: int) -> None:
    """Sends about `num_requests` requests made from the document, the same in every run, and checks every answer."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app=disguise)
    operations_told = [result.ok() for result in schema.get_all_operations()]
    turn = itertools.count()
    settings = hypothesis.settings(
        max_examples=max(1, num_requests // len(operations_told)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    for operation in operations_told:

        @settings
        @hypothesis.given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            make_likelier(case, disguise, next(turn))
            response = case.call()
            case.validate_response(response, checks=list(CHECKS))

        send()


def make_likelier(case: schemathesis.Case, disguise: Disguise, turn: int) -> None:
    """Names that exist, three times of four; and the device speaks for itself. Few populations are added."""
    if isinstance(case.body, dict) and "policy" in case.body and turn % 16:
        case.body["name"] = POPULATION
    if turn % 4 == 0:
        return
    real = {"population": POPULATION, "device_id": disguise.device.device_id}
    if isinstance(case.path_parameters, dict):
        case.path_parameters.update({name: real[name] for name in case.path_parameters if name in real})
    if isinstance(case.body, dict) and "device_id" in case.body:
        case.body["device_id"] = disguise.device.device_id


def test_requests_made_from_the_document_get_the_answers_that_it_tells(disguise: Disguise) -> None:
    fuzz(disguise, 300)
    assert disguise.statuses["200"] > 40
    assert {"400", "401", "403", "404"} <= set(disguise.statuses)
    assert not any(status.startswith("5") for status in disguise.statuses)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_requests_find_no_failure(disguise: Disguise) -> None:
    fuzz(disguise, 13_000)  # where little can vary, fewer are made
    assert sum(disguise.statuses.values()) > 10_000
    assert disguise.statuses["200"] > 1_000
    assert not any(status.startswith("5") for status in disguise.statuses)
