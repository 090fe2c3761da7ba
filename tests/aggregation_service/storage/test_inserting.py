from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from aggregation_service.storage.database import Database
from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import nonces


def nonce(number: int, expires_at: float = 1.0) -> dict[str, object]:
    return {"device_id": "d" * 32, "nonce": f"{number:032x}", "expires_at": expires_at}


def test_a_row_is_inserted_once_and_stays_as_it_was(database: Database) -> None:
    with database.write() as connection:
        assert insert_unless_present(connection, nonces, nonce(1))
        assert not insert_unless_present(connection, nonces, nonce(1, expires_at=2.0))
        assert insert_unless_present(connection, nonces, nonce(2))
    with database.read() as connection:
        assert sorted(connection.scalars(select(nonces.c.expires_at))) == [1.0, 1.0]


def test_of_many_that_race_one_inserts(database: Database) -> None:
    def insert(_number: int) -> bool:
        with database.write() as connection:
            return insert_unless_present(connection, nonces, nonce(7))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(insert, range(40))) == 1


def test_what_is_rolled_back_may_come_again(database: Database) -> None:
    with database.engine.connect() as connection, connection.begin() as transaction:
        assert insert_unless_present(connection, nonces, nonce(1))
        transaction.rollback()
    with database.write() as connection:
        assert insert_unless_present(connection, nonces, nonce(1))
