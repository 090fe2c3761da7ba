"""An insert that tells whether the row was new, on both databases, without failing the transaction."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, literal
from sqlalchemy.dialects import postgresql, sqlite


def insert_unless_present(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Inserts `row` unless a row with its primary key, or another unique value of it, is there.

    Guarantees:
      of transactions that race with the same key, one inserts; the others wait for its end and then find the row.

    Returns:
      Whether it was inserted.

    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    unless_present = insert(table).values(dict(row)).on_conflict_do_nothing()
    # Asked for by RETURNING, since PostgreSQL's driver does not count the rows of an INSERT.
    return connection.scalar(unless_present.returning(literal(True))) is not None
