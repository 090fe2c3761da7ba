"""Files by their content's SHA-256."""

from sqlalchemy import Connection, LargeBinary, func, select

from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import files
from protocol.manifest import FileEntry


def put_file(connection: Connection, content: bytes) -> FileEntry:
    """Stores `content` under its hash, once however often it comes.

    Guarantees:
      The file is there until the transaction ends: it cannot be pruned before what the transaction names it by counts.
    """
    entry = FileEntry.of(content)
    # On PostgreSQL locked as a foreign key locks it; on SQLite a write transaction is alone.
    present = select(files.c.sha256).where(files.c.sha256 == entry.sha256).with_for_update(read=True, key_share=True)
    while connection.scalar(present) is None:
        row = {"sha256": entry.sha256, "size_bytes": entry.size_bytes, "content": content}
        insert_unless_present(connection, files, row)
    return entry


def get_entry(connection: Connection, sha256: str) -> FileEntry:
    """Reads the entry of a file that is known to be there, without its content."""
    size = connection.execute(select(files.c.size_bytes).where(files.c.sha256 == sha256)).scalar_one()
    return FileEntry(sha256=sha256, size_bytes=size)


def find_size(connection: Connection, sha256: str) -> int | None:
    """A file's size in bytes, without its content."""
    size: int | None = connection.scalar(select(files.c.size_bytes).where(files.c.sha256 == sha256))
    return size


def find_part(connection: Connection, sha256: str, start: int, stop: int) -> bytes | None:
    """Reads the bytes from `start` to before `stop` of a file."""
    part = func.substr(files.c.content, start + 1, stop - start, type_=LargeBinary)
    content: bytes | None = connection.scalar(select(part).where(files.c.sha256 == sha256))
    return content


def find_content(connection: Connection, sha256: str) -> bytes | None:
    """Reads a file."""
    content: bytes | None = connection.scalar(select(files.c.content).where(files.c.sha256 == sha256))
    return content
