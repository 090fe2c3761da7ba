"""The audit log as a page, and whether its chain holds."""

from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.audit import AuditEntry, BrokenChain

PAGE_ENTRIES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class TrailView:
    """Some entries, newest first.

    Attributes:
      total: how many there are in all.
      head: hash of the newest; kept elsewhere it proves that none was cut off.
      broken: which entry does not fit; None if the chain holds.
      older: where the next page begins; None on the last.

    """

    entries: tuple[AuditEntry, ...]
    total: int
    head: str
    broken: str | None
    older: int | None


def read_trail(connection: Connection, before: int | None) -> TrailView:
    """Checks the whole chain and reads the entries below `before`; None for the newest."""
    entries = audit.list_entries(connection, before=before, limit=PAGE_ENTRIES)
    try:
        audit.verify(connection)
        broken = None
    except BrokenChain as error:
        broken = str(error)
    return TrailView(
        entries=tuple(entries),
        total=audit.count(connection),
        head=audit.head(connection),
        broken=broken,
        older=entries[-1].id if entries and entries[-1].id > 1 else None,
    )
