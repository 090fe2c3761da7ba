"""Operators of the rehearsed service, and browsers in which they log in."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import Role

PASSWORDS = {"ada": "correct horse battery", "vera": "only looking around"}


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real hash in a thousandth of the time."""
    monkeypatch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def operators(rehearsal: Any) -> dict[str, str]:
    """Ada is an operator, Vera a viewer."""
    with rehearsal.service.database.write() as connection:
        for name, role in (("ada", Role.OPERATOR), ("vera", Role.VIEWER)):
            accounts.add_operator(
                connection, name, password=PASSWORDS[name], role=role, actor="cli:test", now=rehearsal.now
            )
    return PASSWORDS


class Browser:
    """Keeps cookies, follows no redirect, and reads the token off pages."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **arguments: Any) -> TestResponse:
        headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        return self.client.get(path, headers=headers, base_url="https://localhost", **arguments)

    def token(self) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get("/login").text)
        assert found
        return found.group(1)

    def post(self, path: str, referrer: str = "https://localhost/login", **form: str) -> TestResponse:
        return self.client.post(path, data=form, base_url="https://localhost", headers={"Referer": referrer})

    def log_in(self, name: str, password: str, next_path: str = "/dashboard/") -> TestResponse:
        return self.post("/login", csrf_token=self.token(), name=name, password=password, next=next_path)

    def cookie(self) -> Any:
        return self.client.get_cookie("__Host-keychorus")


@pytest.fixture
def browser(rehearsal: Any) -> Callable[[], Browser]:
    return lambda: Browser(rehearsal.apps[-1].test_client())
