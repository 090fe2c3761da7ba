from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from argon2 import PasswordHasher
from werkzeug.test import TestResponse

from aggregation_service import audit, operations
from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import Role
from aggregation_service.policy import PopulationPolicy
from protocol import routes

POPULATION = "en-gb"
PASSWORDS = {"ada": "correct horse battery", "vera": "only looking around"}
HERE = f"/v1/admin/populations/{POPULATION}"
CHANGES = [
    ("POST", "/v1/admin/populations", {"name": "de-de"}),
    ("PUT", f"{HERE}/policy", {"enrolment": "open"}),
    ("POST", f"{HERE}/tasks/end", {}),
    ("POST", f"/v1/admin/devices/{POPULATION}/{'0' * 32}/revoke", {}),
]
VIEWS = ["/v1/admin/populations", f"{HERE}/policy", f"{HERE}/tasks", "/v1/admin/audit", routes.rounds(POPULATION)]
Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(rehearsal: Any, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks as somebody, by HTTP Basic, whose passwords are hashed in a thousandth of the time."""
    monkeypatch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    with rehearsal.service.database.write() as connection:
        for name, role in (("ada", Role.OPERATOR), ("vera", Role.VIEWER)):
            accounts.add_operator(connection, name, password=PASSWORDS[name], role=role, actor="cli:test", now=1.0)

    def ask(name: str, method: str, path: str, body: Any = None, **arguments: Any) -> TestResponse:
        if body is not None:
            arguments = {"data": msgspec.json.encode(body), "content_type": "application/json", **arguments}
        response: TestResponse = rehearsal.request(method, path, auth=(name, PASSWORDS[name]), **arguments)
        return response

    return ask


def newest(rehearsal: Any) -> audit.AuditEntry:
    with rehearsal.service.database.read() as connection:
        audit.verify(connection)
        return audit.list_entries(connection, limit=1)[0]


def test_a_viewer_sees_everything_and_changes_nothing(rehearsal: Any, ask: Ask) -> None:
    before = newest(rehearsal)
    for path in VIEWS:
        assert ask("vera", "GET", path).status_code == 200
        assert rehearsal.request("GET", path).status_code == 401
    for method, path, body in CHANGES:
        answer = ask("vera", method, path, body)
        assert (answer.status_code, answer.json["type"]) == (403, "urn:keychorus:problem:not_allowed")
        assert rehearsal.request(method, path, json=body).status_code == 401
    assert newest(rehearsal) == before


def test_a_population_with_its_policy(rehearsal: Any, ask: Ask) -> None:
    body = {"name": "de-de", "policy": {"enrolment": "open", "epsilon_budget": 4.0}}
    assert ask("ada", "POST", "/v1/admin/populations", body).status_code == 200
    policy = PopulationPolicy(enrolment="open", epsilon_budget=4.0)
    assert operations.get_policy(rehearsal.config, "de-de") == policy
    entry = newest(rehearsal)
    assert (entry.actor, entry.action, entry.subject) == ("ada", "population.added", "de-de")
    assert entry.details == {"policy": msgspec.to_builtins(policy)}
    answer = ask("ada", "POST", "/v1/admin/populations", body)
    assert (answer.status_code, answer.json["detail"]) == (400, "population de-de exists already")


def test_who_changed_which_privacy_parameter(rehearsal: Any, ask: Ask, plans: Any) -> None:
    policy: dict[str, object] = {"enrolment": "token", "epsilon_budget": 2.5, "keep_checkpoints": 9}
    policy |= {"gate_margin": None, "gate_standard_errors": 2.0}
    assert ask("ada", "PUT", f"{HERE}/policy", policy).json == policy
    assert ask("vera", "GET", f"{HERE}/policy").json == policy
    entry = newest(rehearsal)
    assert (entry.actor, entry.action) == ("ada", "policy.changed")
    assert entry.details["old"] != entry.details["new"] == policy
    assert ask("ada", "PUT", f"{HERE}/policy", policy).status_code == 200
    assert newest(rehearsal) == entry  # nothing changed, nothing to tell
    for noise in (0.5, 2.0):
        rehearsal.create_task(plans(noise=noise))
    entry = newest(rehearsal)
    assert entry.actor == audit.machine_actor()
    old, new = entry.details["old_privacy"], entry.details["new_privacy"]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert (old["noise_multiplier"], new["noise_multiplier"]) == (0.5, 2.0)


def test_ending_a_task(rehearsal: Any, ask: Ask, plan: Any) -> None:
    assert ask("ada", "POST", f"{HERE}/tasks/end", {}).status_code == 400
    rehearsal.create_task(plan)
    rehearsal.select()
    assert ask("ada", "POST", f"{HERE}/tasks/end", {}).json == {"id": 1}
    [task] = ask("vera", "GET", f"{HERE}/tasks").json["tasks"]
    assert (task["id"], task["ended_because"], task["kind"]) == (1, "cancelled", "training")
    assert newest(rehearsal).action == "task.ended"
    assert [entry["phase"] for entry in rehearsal.summary()["rounds"]] == ["abandoned"]
    assert rehearsal.post_check_in().reason == "no_task"


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"enrolment":"open"}', "text/plain", 415),
        (b'{"enrolment":"open"}', "application/x-www-form-urlencoded", 415),
        (b'{"enrolment":"nobody"}', "application/json", 400),
        (b'{"epsilon_budget":0}', "application/json", 400),
        (b'{"budget":1}', "application/json", 400),
        (b"", "application/json", 400),
    ],
)
def test_a_wrong_change_is_refused(ask: Ask, body: bytes, media_type: str, status: int) -> None:
    length = {"CONTENT_LENGTH": str(len(body))}
    answer = ask("ada", "PUT", f"{HERE}/policy", data=body, content_type=media_type, environ_overrides=length)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_the_audit_log_by_pages(rehearsal: Any, ask: Ask) -> None:
    first = ask("vera", "GET", "/v1/admin/audit?limit=2").json
    second = ask("vera", "GET", f"/v1/admin/audit?limit=2&before={first['before']}").json
    assert [entry["id"] for entry in first["entries"] + second["entries"]] == [3, 2, 1]
    assert (first["head"], second["before"]) == (newest(rehearsal).sha256, None)
    for query in ("limit=0", "limit=501", "limit=x", "before=0", "before=99999999999", "page=1"):
        assert ask("vera", "GET", f"/v1/admin/audit?{query}").status_code == 400


def test_unknown_populations(ask: Ask) -> None:
    for path in ("policy", "tasks"):
        assert ask("ada", "GET", f"/v1/admin/populations/nowhere/{path}").status_code == 404


def test_a_session_needs_its_token(rehearsal: Any, ask: Ask) -> None:
    client = rehearsal.apps[-1].test_client()
    page = client.get("/login", base_url="https://localhost").text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    headers = {"Referer": "https://localhost/login"}
    form = {"csrf_token": token, "name": "ada", "password": PASSWORDS["ada"]}
    client.post("/login", base_url="https://localhost", data=form, headers=headers)
    page = client.get("/login", base_url="https://localhost").text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    arguments = {"base_url": "https://localhost", "json": {"enrolment": "open"}}
    assert client.put(f"{HERE}/policy", headers=headers, **arguments).status_code == 400
    assert client.put(f"{HERE}/policy", headers={**headers, "X-CSRFToken": "x"}, **arguments).status_code == 400
    assert client.put(f"{HERE}/policy", headers={**headers, "X-CSRFToken": token}, **arguments).status_code == 200
    assert operations.get_policy(rehearsal.config, POPULATION).enrolment == "open"
