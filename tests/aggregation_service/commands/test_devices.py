"""Tokens and devices on the command line."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregation_service import audit, operations
from aggregation_service.cli import service

POPULATION = "en-gb"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def run(rehearsal: Any, *arguments: str) -> Result:
    return CliRunner().invoke(service, [*arguments, "--config", str(rehearsal.folder / "service.toml")])


def actions(rehearsal: Any) -> list[str]:
    with rehearsal.service.database.read() as connection:
        return [entry.action for entry in audit.list_entries(connection)]


def test_a_token_is_printed_once_and_enrols(rehearsal: Any) -> None:
    made = run(rehearsal, "token", "create", POPULATION, "--uses", "2", "--days", "1")
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert len(bytes.fromhex(token)) == 32
    assert "enrols 2 devices in en-gb until 2023-11-15" in made.stderr
    assert rehearsal.post_enrol("ab" * 16, token=token).status_code == 200
    listed = run(rehearsal, "token", "list", POPULATION)
    assert listed.exit_code == 0
    assert token not in listed.output
    assert run(rehearsal, "token", "revoke", POPULATION, "1").exit_code == 0
    assert rehearsal.post_enrol("cd" * 16, token=token).status_code == 403
    assert actions(rehearsal)[:2] == ["token.revoked", "token.created"]
    with rehearsal.service.database.read() as connection:
        assert token not in str(audit.list_entries(connection))


def test_devices_are_counted_and_named_only_when_asked(rehearsal: Any) -> None:
    kept, revoked = rehearsal.enrol(), rehearsal.enrol()
    assert run(rehearsal, "device", "revoke", POPULATION, revoked).exit_code == 0
    counts = run(rehearsal, "device", "list", POPULATION)
    assert counts.output.split() == ["enrolled", "1", "revoked", "1"]
    named = run(rehearsal, "device", "list", POPULATION, "--ids").output.splitlines()
    assert sorted(named) == sorted([f"{kept} enrolled", f"{revoked} revoked"])
    with rehearsal.service.database.read() as connection:
        [newest] = audit.list_entries(connection, limit=1)
    assert (newest.action, newest.subject) == ("device.revoked", f"{POPULATION}/{revoked}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("token", "create", "nowhere"), "there is no population nowhere"),
        (("token", "create", POPULATION, "--uses", "0"), "uses must be in 1 to"),
        (("token", "create", POPULATION, "--days", "nan"), "days must be in"),
        (("token", "revoke", POPULATION, "9"), "has no enrolment token 9"),
        (("token", "list", "nowhere"), "there is no population nowhere"),
        (("device", "list", "nowhere"), "there is no population nowhere"),
        (("device", "revoke", POPULATION, "ab"), "has no device of this id"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(rehearsal: Any, arguments: tuple[str, ...], told: str) -> None:
    result = run(rehearsal, *arguments)
    assert result.exit_code == 1
    assert told in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_an_operation_keeps_no_audit_of_what_failed(rehearsal: Any) -> None:
    before = actions(rehearsal)
    with pytest.raises(operations.OperationError):
        operations.revoke_device(rehearsal.config, POPULATION, "ab" * 16, actor="ada")
    assert actions(rehearsal) == before
