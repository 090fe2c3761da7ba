"""New words that came out of discoveries, and how far a discovery that runs has come."""

from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service.storage import discoveries, models
from aggregation_service.storage.discoveries import WordRecord

MOST_SHOWN = 500
"""Of each status; `keychorus service words list` has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A discovery that runs: its present level, from 1, of so many; and how many candidates this votes on."""

    level: int
    levels: int
    num_candidates: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsView:
    """A population's words by status, those of most devices first; `counts` are of all, also of those not shown."""

    found: tuple[WordRecord, ...]
    decided: tuple[WordRecord, ...]
    counts: dict[str, int]
    progress: Progress | None

    @property
    def is_empty(self) -> bool:
        """Whether no word came out yet."""
        return not any(self.counts.values())


def read_words(connection: Connection, population: str) -> WordsView:
    """Reads all words of a population, and its running discovery."""
    words = discoveries.list_words(connection, population)
    found = [word for word in words if word.status == "found"]
    decided = sorted((word for word in words if word.status != "found"), key=lambda word: word.status)
    counts = {status: sum(word.status == status for word in words) for status in ("found", "approved", "rejected")}
    return WordsView(
        found=tuple(found[:MOST_SHOWN]),
        decided=tuple(decided[:MOST_SHOWN]),
        counts=counts,
        progress=_progress(connection, population),
    )


def _progress(connection: Connection, population: str) -> Progress | None:
    task_id = models.find_running(connection, population, "discovery")
    ballot = None if task_id is None else models.get_task(connection, task_id).plan.ballot
    if ballot is None:
        return None
    levels = len(ballot.parameters.steps)
    return Progress(level=ballot.level + 1, levels=levels, num_candidates=ballot.num_candidates)
