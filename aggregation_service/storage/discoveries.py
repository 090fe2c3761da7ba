"""Discoveries of new words, at rest: what each level votes on, and the words that came out, to be reviewed.

All of this was computed from sums with noise on them. Still it is never logged: a word is what somebody typed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import Connection, Row, func, select, update

from aggregation_service.storage.files import get_entry, put_file
from aggregation_service.storage.tables import discovered_words, discovery_levels
from protocol.discovery.advancing import Discovered
from protocol.manifest import FileEntry

WordStatus = Literal["found", "approved", "rejected"]
"""`found`: nobody has looked at it yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WordRecord:
    """A word that came out.

    Attributes:
      task_id: of the level in which its end survived.
      devices: that voted for it, as noised.
      decided_by: who approved or rejected it; None of a word that is `found`.

    """

    id: int
    population: str
    task_id: int
    word: str
    devices: float
    status: WordStatus
    found_at: float
    decided_at: float | None
    decided_by: str | None


def put_level(connection: Connection, task_id: int, candidates: bytes) -> None:
    """Stores the list that a level's task votes on."""
    row = {"task_id": task_id, "candidates_sha256": put_file(connection, candidates).sha256}
    connection.execute(discovery_levels.insert().values(row))


def find_candidates(connection: Connection, task_id: int) -> FileEntry | None:
    """The list that a task votes on; None of a task that is no level of a discovery."""
    found = select(discovery_levels.c.candidates_sha256).where(discovery_levels.c.task_id == task_id)
    sha256: str | None = connection.scalar(found)
    return None if sha256 is None else get_entry(connection, sha256)


def insert_words(
    connection: Connection, population: str, task_id: int, words: Iterable[Discovered], now: float
) -> None:
    """Stores the words that came out in a level."""
    common = {"population": population, "task_id": task_id, "found_at": now}
    rows: list[dict[str, Any]] = [common | {"word": each.word, "devices": each.devices} for each in words]
    if rows:
        connection.execute(discovered_words.insert(), rows)


def list_words(connection: Connection, population: str, status: WordStatus | None = None) -> list[WordRecord]:
    """A population's words, those of most devices first; of one status, or of all."""
    found = select(discovered_words).where(discovered_words.c.population == population)
    if status is not None:
        found = found.where(discovered_words.c.status == status)
    ordered = found.order_by(discovered_words.c.devices.desc(), discovered_words.c.id)
    return [_record(row) for row in connection.execute(ordered)]


def count_words(connection: Connection, population: str, status: WordStatus) -> int:
    """How many words of a population have a status."""
    counted = select(func.count()).select_from(discovered_words)
    of_status = (discovered_words.c.population == population) & (discovered_words.c.status == status)
    return connection.scalar(counted.where(of_status)) or 0


def decide_words(
    connection: Connection, population: str, ids: Iterable[int], status: WordStatus, *, actor: str, now: float
) -> int:
    """Gives these words of a population a status, also where they have another already.

    Returns:
      How many there are.

    """
    which = (discovered_words.c.population == population) & discovered_words.c.id.in_(list(ids))
    values = {"status": status, "decided_at": now, "decided_by": actor}
    return connection.execute(update(discovered_words).where(which).values(values)).rowcount


def _record(row: Row[Any]) -> WordRecord:
    return WordRecord(
        id=row.id,
        population=row.population,
        task_id=row.task_id,
        word=row.word,
        devices=row.devices,
        status=cast(WordStatus, row.status),
        found_at=row.found_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
    )
