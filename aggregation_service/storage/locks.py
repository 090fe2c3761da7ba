"""What makes transactions that change the same open round wait for one another."""

from sqlalchemy import Connection, select

from aggregation_service.storage.tables import populations


def lock_population(connection: Connection, population: str) -> None:
    """Locks a population until the transaction ends; called first in each that changes the population's open round.

    On SQLite a write transaction has locked the whole database when it began, so there is nothing left to do.

    Guarantees:
      What is read of the population's rounds after this call cannot change before the transaction ends, as long as
      every writer of rounds calls it. Rows that merely name the population (a foreign key) can be added meanwhile. A
      population that does not exist is locked for nobody.

    Raises:
      OperationalError: another transaction held the lock for longer than `Database` waits.

    """
    if connection.dialect.name == "sqlite":
        return
    row = select(populations.c.name).where(populations.c.name == population)
    connection.execute(row.with_for_update(key_share=True))  # FOR NO KEY UPDATE
