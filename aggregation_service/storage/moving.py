"""From SQLite to PostgreSQL, row by row: how a service grows from one machine to several."""

import tempfile
from pathlib import Path

from sqlalchemy import Connection, Table, func, select

from aggregation_service.storage.database import Database, upgrade
from aggregation_service.storage.dumps import DumpError, Progress, load
from aggregation_service.storage.tables import metadata

_ROWS_AT_ONCE = 16  # a row may be a file of several megabytes


def move(path: Path, database_url: str, progress: Progress) -> None:
    """Puts a dump of SQLite's into a database of another kind that has no rows; its tables are made if need be.

    Guarantees:
      All rows arrive, or none; the dump stays as it is.

    Raises:
      DumpError: there are rows already.
      UnsupportedDatabase: not a URL of SQLite or PostgreSQL.

    """
    with tempfile.TemporaryDirectory() as folder:  # a copy, to be migrated
        copy_url = f"sqlite:///{folder}/moving.sqlite"
        load(path, copy_url, lambda _done, _total: None)
        source, target = Database(copy_url), Database(database_url)
        try:
            upgrade(source)
            upgrade(target)
            with source.read() as reader, target.write() as writer:
                _copy_tables(reader, writer, path.stat().st_size, progress)
        finally:
            source.close()
            target.close()


def _copy_tables(reader: Connection, writer: Connection, size_bytes: int, progress: Progress) -> None:
    """Progress counts tables, each as if it were of the same size: nobody knows how large they are."""
    tables = metadata.sorted_tables  # what is referred to comes first
    for table in tables:
        if writer.scalar(select(func.count()).select_from(table)):
            raise DumpError(f"the database must have no rows, and {table.name} has: a database is never overwritten")
    for number, table in enumerate(tables, start=1):
        rows = reader.execute(select(table), execution_options={"yield_per": _ROWS_AT_ONCE})
        for some in rows.mappings().partitions():
            writer.execute(table.insert(), [dict(row) for row in some])
        _continue_numbers(writer, table)
        progress(size_bytes * number // len(tables), size_bytes)


def _continue_numbers(writer: Connection, table: Table) -> None:
    """PostgreSQL counts ids beside the table, and has not seen those that came with their rows."""
    column = table.autoincrement_column
    newest = None if column is None else writer.scalar(select(func.max(column)))
    if column is not None and newest is not None and writer.dialect.name == "postgresql":
        writer.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), newest)))
