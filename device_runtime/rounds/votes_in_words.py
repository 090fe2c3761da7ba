"""In which discoveries of new words a device took part, as a person reads it: when, how many votes, never for what."""

from collections.abc import Iterable
from datetime import UTC, datetime

from device_runtime.diary import DiaryEntry
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms_in_words import Fact

MOST_TOLD = 5
LOOKED_AT = 1_000
"""Newest entries of the diary that are looked at."""


def tell_votes(entries: Iterable[DiaryEntry]) -> list[Fact]:
    """The newest votes, newest first, at most `MOST_TOLD`.

    >>> told = DiaryEntry(at=0.0, event=Event.VOTED, numbers={"level": 2, "levels": 5, "votes": 3})
    >>> [fact.told for fact in tell_votes([told])]
    ['level 2 of 5 on 1970-01-01, 3 votes']
    """
    voted = [entry for entry in entries if entry.event is Event.VOTED]
    return [Fact("voted for words", _tell(entry)) for entry in voted[:MOST_TOLD]]


def _tell(entry: DiaryEntry) -> str:
    level, levels, votes = (int(entry.numbers.get(name, 0)) for name in ("level", "levels", "votes"))
    counted = "1 vote" if votes == 1 else f"{votes} votes"
    return f"level {level} of {levels} on {datetime.fromtimestamp(entry.at, UTC):%Y-%m-%d}, {counted}"
