import time
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from aggregation_service import audit
from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import AccountError, Role, check_password
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.tables import operators

PASSWORD = "correct horse battery"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database)
    with database.write() as connection:
        accounts.add_operator(connection, "ada", password=PASSWORD, role=Role.OPERATOR, actor="cli:x", now=1.0)
    yield database
    database.close()


def stored_hash(database: Database) -> str:
    with database.read() as connection:
        return str(connection.scalar(select(operators.c.password_hash)))


def test_the_right_password_and_no_other(database: Database) -> None:
    found = check_password(database, "ada", PASSWORD)
    assert found is not None
    assert (found.name, found.role, found.disabled) == ("ada", Role.OPERATOR, False)
    for name, password in (("ada", PASSWORD + " "), ("ada", ""), ("Ada", PASSWORD), ("eve", PASSWORD), ("", "")):
        assert check_password(database, name, password) is None
    assert stored_hash(database).startswith("$argon2id$")
    assert PASSWORD not in stored_hash(database)


@pytest.mark.usefixtures("cheap_passwords")
def test_a_disabled_account_has_no_password(database: Database) -> None:
    with database.write() as connection:
        accounts.disable(connection, "ada", actor="cli:x", now=2.0)
    assert check_password(database, "ada", PASSWORD) is None
    with database.write() as connection:
        accounts.enable(connection, "ada", actor="cli:x", now=3.0)
    assert check_password(database, "ada", PASSWORD) is not None


@pytest.mark.usefixtures("cheap_passwords")
def test_another_password_is_another_fingerprint(database: Database) -> None:
    before = check_password(database, "ada", PASSWORD)
    with database.write() as connection:
        accounts.set_password(connection, "ada", password="twelve chars", actor="cli:x", now=2.0)
    after = check_password(database, "ada", "twelve chars")
    assert check_password(database, "ada", PASSWORD) is None
    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint


@pytest.mark.usefixtures("cheap_passwords")
def test_everything_is_in_the_audit_log_but_passwords(database: Database) -> None:
    with database.write() as connection:
        accounts.set_password(connection, "ada", password="twelve chars", actor="cli:x", now=2.0)
        accounts.disable(connection, "ada", actor="cli:x", now=3.0)
    with database.read() as connection:
        entries = audit.list_entries(connection)
        assert audit.verify(connection) == 3
    assert [entry.action for entry in entries] == ["operator.disabled", "operator.password_changed", "operator.added"]
    assert {entry.subject for entry in entries} == {"ada"}
    assert "twelve" not in str(entries)
    assert "argon2" not in str(entries)


def test_a_hash_of_weaker_parameters_is_made_anew_at_the_next_login(database: Database) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with database.write() as connection:
        connection.execute(update(operators).values(password_hash=weak))
    assert check_password(database, "ada", "wrong password") is None
    assert stored_hash(database) == weak
    assert check_password(database, "ada", PASSWORD) is not None
    assert stored_hash(database) != weak
    assert not PasswordHasher().check_needs_rehash(stored_hash(database))
    assert check_password(database, "ada", PASSWORD) is not None


@pytest.mark.usefixtures("cheap_passwords")
def test_a_broken_hash_lets_nobody_in(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(operators).values(password_hash="plain"))
    assert check_password(database, "ada", "plain") is None


def test_an_unknown_name_costs_as_much_as_a_known_one(database: Database) -> None:
    def seconds(name: str) -> float:
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            check_password(database, name, "wrong password")
            best = min(best, time.perf_counter() - begin)
        return best

    assert 0.4 < seconds("nobody") / seconds("ada") < 2.5


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("eve", "eleven char", "a password must have 12 to 1024 characters, got 11"),
        ("eve", "x" * 1025, "a password must have 12 to 1024 characters, got 1025"),
        ("ada", PASSWORD, "operator ada exists already"),
        ("Eve", PASSWORD, "must begin with a-z"),
        ("e" * 33, PASSWORD, "at most 32"),
        ("cli:eve", PASSWORD, "must begin with a-z"),
        ("gate", PASSWORD, "by which the service itself acts, got gate"),
        ("service", PASSWORD, "by which the service itself acts, got service"),
        ("anonymous", PASSWORD, "by which the service itself acts, got anonymous"),
    ],
)
@pytest.mark.usefixtures("cheap_passwords")
def test_what_cannot_be_an_account(database: Database, name: str, password: str, said: str) -> None:
    with pytest.raises(AccountError, match=said), database.write() as connection:
        accounts.add_operator(connection, name, password=password, role=Role.VIEWER, actor="cli:x", now=2.0)


@pytest.mark.usefixtures("cheap_passwords")
def test_nobody_cannot_be_changed(database: Database) -> None:
    with database.write() as connection:
        for change in (accounts.disable, accounts.enable):
            with pytest.raises(AccountError, match="there is no operator eve"):
                change(connection, "eve", actor="cli:x", now=2.0)
        with pytest.raises(AccountError, match="there is no operator eve"):
            accounts.set_password(connection, "eve", password=PASSWORD, actor="cli:x", now=2.0)
