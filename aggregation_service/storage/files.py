"""Files by their content's SHA-256."""

from sqlalchemy import Connection, select

from aggregation_service.storage.tables import files
from protocol.manifest import FileEntry


def put_file(connection: Connection, content: bytes) -> FileEntry:
    """Stores `content` under its hash, once however often it comes."""
    entry = FileEntry.of(content)
    if connection.scalar(select(files.c.sha256).where(files.c.sha256 == entry.sha256)) is None:
        row = {"sha256": entry.sha256, "size_bytes": entry.size_bytes, "content": content}
        connection.execute(files.insert().values(row))
    return entry


def get_entry(connection: Connection, sha256: str) -> FileEntry:
    """Reads the entry of a file that is known to be there, without its content."""
    size = connection.execute(select(files.c.size_bytes).where(files.c.sha256 == sha256)).scalar_one()
    return FileEntry(sha256=sha256, size_bytes=size)


def find_content(connection: Connection, sha256: str) -> bytes | None:
    """Reads a file."""
    content: bytes | None = connection.scalar(select(files.c.content).where(files.c.sha256 == sha256))
    return content
