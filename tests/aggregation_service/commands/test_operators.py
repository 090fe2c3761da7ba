from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result
from sqlalchemy import delete

from aggregation_service import audit as audit_log
from aggregation_service import operations
from aggregation_service.cli import service
from aggregation_service.config import load_config, load_session_key
from aggregation_service.operations.shared import opened
from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import Role, check_password
from aggregation_service.storage.tables import audit

PASSWORD = "correct horse battery"


@pytest.fixture
def config_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new service, which hashes passwords in a thousandth of the time."""
    monkeypatch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return operations.initialise(tmp_path / "service").config_path


def run(config_path: Path, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(service, [*words, "--config", str(config_path)], input=typed)


def can_log_in(config_path: Path, password: str) -> bool:
    with opened(load_config(config_path)) as database:
        return check_password(database, "ada", password) is not None


def test_an_operator_from_first_to_last(config_path: Path) -> None:
    done = run(config_path, "operator", "add", "ada", "--role", "operator", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    assert can_log_in(config_path, PASSWORD)
    done = run(config_path, "operator", "password", "ada", "--password-stdin", typed="another password\n")
    assert done.exit_code == 0, done.output
    assert can_log_in(config_path, "another password")
    assert run(config_path, "operator", "disable", "ada").exit_code == 0
    assert run(config_path, "operator", "list").output == "ada  operator  disabled\n"
    assert not can_log_in(config_path, "another password")
    assert run(config_path, "operator", "enable", "ada").exit_code == 0
    assert run(config_path, "operator", "list").output == "ada  operator\n"
    shown = run(config_path, "audit", "show", "--json").output
    for action in ("added", "password_changed", "disabled", "enabled"):
        assert f"operator.{action}" in shown


def test_passwords_that_do_not_match_or_are_short_make_nobody(config_path: Path) -> None:
    add = ("operator", "add", "ada", "--role", "viewer")
    assert run(config_path, *add, typed=f"{PASSWORD}\nanother password\n").exit_code != 0
    done = run(config_path, *add, "--password-stdin", typed="short\n")
    assert (done.exit_code, done.output) == (
        1,
        "Error: a password must have 12 to 1024 characters, got 5\n",
    )
    assert run(config_path, "operator", "add", "ada", "--role", "king").exit_code == 2
    assert run(config_path, "operator", "list").output == ""


def test_roles_are_those_that_there_are(config_path: Path) -> None:
    for role in Role:
        name = f"the-{role}"
        done = run(config_path, "operator", "add", name, "--role", role.value, "--password-stdin", typed=PASSWORD)
        assert done.exit_code == 0, done.output
    assert run(config_path, "operator", "list").output == "the-operator  operator\nthe-viewer  viewer\n"


def test_the_audit_log_is_shown_and_verified_by_its_head(config_path: Path) -> None:
    for name in ("en-gb", "de-de"):
        assert run(config_path, "population", "add", name).exit_code == 0
    shown = run(config_path, "audit", "show")
    head = shown.output.split("head ")[1].strip()
    assert "population" in shown.output
    done = run(config_path, "audit", "verify", "--head", head)
    assert (done.exit_code, done.output) == (0, f"2 entries, none changed\nhead {head}\n")
    with opened(load_config(config_path)) as database, database.write() as connection:
        connection.execute(delete(audit).where(audit.c.id == 2))
    assert run(config_path, "audit", "verify").exit_code == 0
    done = run(config_path, "audit", "verify", "--head", head)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: the log must contain the hash {head}")


def test_a_session_key_for_a_service_without_one(config_path: Path) -> None:
    path = load_config(config_path).session_key_path
    first = load_session_key(path)
    path.unlink()
    assert "keychorus service key session" in run(config_path, "run").output
    assert run(config_path, "key", "session").exit_code == 0
    second = load_session_key(path)
    assert "never overwritten" in run(config_path, "key", "session").output
    assert load_session_key(path) == second
    assert run(config_path, "key", "session", "--replace").exit_code == 0
    assert len({first, second, load_session_key(path)}) == 3
    with opened(load_config(config_path)) as database, database.read() as connection:
        entries = audit_log.list_entries(connection)
    assert [(one.action, one.details["replace"]) for one in entries] == [
        ("session_key.made", True),
        ("session_key.made", False),
    ]
    assert all(one.actor.startswith("cli:") for one in entries)
