"""Who comes first is decided by the database: the last use of a token, a nonce, an id."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.identity import devices, nonces, tokens
from aggregation_service.identity.caller import Caller
from aggregation_service.identity.enrolment import admit
from aggregation_service.policy import PopulationPolicy
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.models import add_population
from protocol.enrolment import Enrol
from protocol.manifest import encode_public_key

POPULATION = "en-gb"
NOW = 1_700_000_000.0


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    upgrade(database)
    with database.write() as connection:
        add_population(connection, POPULATION, NOW)
    yield database
    database.close()


def raced(database: Database, action: Callable[[Connection], Any], times: int) -> list[Any]:
    """Runs `action` in transactions of several threads at once; None where it was refused."""

    def once(_: int) -> Any:
        try:
            with database.write() as connection:
                return action(connection)
        except Refused:
            return None

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(once, range(times)))


def test_a_token_enrols_no_more_devices_than_it_has_uses(database: Database) -> None:
    with database.write() as connection:
        number, token = tokens.add(connection, POPULATION, uses=5, expires_at=NOW + 1, created_by="cli:test", now=NOW)
    spent = raced(database, lambda connection: tokens.spend(connection, POPULATION, token, NOW), 24)
    assert sorted(filter(None, spent)) == [number] * 5
    with database.read() as connection:
        assert [known.uses_left for known in tokens.list_all(connection, POPULATION)] == [0]


def test_a_nonce_is_spent_once(database: Database) -> None:
    caller = Caller(device_id="ab" * 16, nonce="cd" * 16, expires_at=NOW)
    spent = raced(database, lambda connection: nonces.spend(connection, caller) or "spent", 24)
    assert spent.count("spent") == 1


def test_a_nonce_of_a_transaction_that_failed_is_not_spent(database: Database) -> None:
    caller = Caller(device_id="ab" * 16, nonce="cd" * 16, expires_at=NOW)

    def fail(connection: Connection) -> None:
        nonces.spend(connection, caller)
        raise Refused(RefusalKind.LATE_REPORT, "what the request allows failed")

    assert raced(database, fail, 1) == [None]
    with database.write() as connection:
        nonces.spend(connection, caller)


def test_an_id_is_enrolled_with_one_key(database: Database) -> None:
    def enrol(connection: Connection) -> bool | None:
        key = Ed25519PrivateKey.generate().public_key()
        return devices.add(connection, POPULATION, "ab" * 16, key, enrolled_by="open", now=NOW) or None

    assert raced(database, enrol, 24).count(True) == 1


def test_a_key_is_enrolled_with_one_id(database: Database) -> None:
    key = encode_public_key(Ed25519PrivateKey.generate().public_key())

    def enrol(connection: Connection) -> str:
        message = Enrol(device_id=secrets.token_hex(16), public_key=key)
        caller = Caller(device_id=message.device_id, nonce=secrets.token_hex(16), expires_at=NOW)
        admit(connection, POPULATION, message, caller, policy=PopulationPolicy(enrolment="open"), now=NOW)
        return message.device_id

    admitted = [device_id for device_id in raced(database, enrol, 24) if device_id is not None]
    with database.read() as connection:
        assert devices.list_ids(connection, POPULATION) == [(device_id, False) for device_id in admitted]
    assert len(admitted) == 1


def test_expired_nonces_are_forgotten_and_others_kept(database: Database) -> None:
    callers = [
        Caller(device_id="ab" * 16, nonce=secrets.token_hex(16), expires_at=NOW + offset) for offset in (-1, 0, 1)
    ]
    with database.write() as connection:
        for caller in callers:
            nonces.spend(connection, caller)
        assert nonces.forget_expired(connection, NOW) == 1
    with database.write() as connection:
        nonces.spend(connection, callers[0])
    for caller in callers[1:]:
        with pytest.raises(Refused, match="served once"), database.write() as connection:
            nonces.spend(connection, caller)


def test_no_token_is_in_the_database(database: Database) -> None:
    with database.write() as connection:
        _, token = tokens.add(connection, POPULATION, uses=1, expires_at=NOW, created_by="cli:test", now=NOW)
        row = connection.exec_driver_sql("SELECT * FROM enrolment_tokens").one()
    assert bytes.fromhex(token) not in [bytes(value) for value in row if isinstance(value, bytes | memoryview)]
    assert token not in map(str, row)
