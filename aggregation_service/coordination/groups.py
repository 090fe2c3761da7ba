"""Group commit among threads: whoever comes while a group is being committed waits for the next, with all others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LINGER_S = 0.25
"""How long a group waits at most, in real time, for items that are on their way, so that they share it."""


@dataclass(slots=True, eq=False)
class Entry(Generic[ItemT, ResultT]):
    """An item whose thread waits; whoever commits the group says what became of it by `settle` or `refuse`."""

    item: ItemT
    _settled: threading.Event = field(default_factory=threading.Event)
    _result: ResultT | None = None
    _error: Exception | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of the item."""
        return self._settled.is_set()

    def settle(self, result: ResultT) -> None:
        """The item was committed."""
        self._result = result
        self._settled.set()

    def refuse(self, error: Exception) -> None:
        """The item was not committed; its thread raises `error`."""
        self._error = error
        self._settled.set()

    def outcome(self) -> ResultT:
        """What became of the item; raises what it was refused with."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RuntimeError("a group was committed without saying what became of each item")
        return self._result


class Group(Generic[ItemT, ResultT]):
    """Collects items and has one of the waiting threads commit them together. Thread-safe.

    Guarantees:
      `commit` runs in one thread at a time, and gets every item once. A lone item is committed at once; one with others
      on their way waits for them, `linger_s` at most.
    """

    def __init__(self, commit: Callable[[Sequence[Entry[ItemT, ResultT]]], None], linger_s: float = LINGER_S) -> None:
        """Args: `commit` settles or refuses every entry that it is given, and raises nothing."""
        self._commit = commit
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._queue: list[Entry[ItemT, ResultT]] = []
        self._on_their_way = 0
        self._committing = False

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Says that an item is on its way, or waits for its group; ends when it is known what became of it."""
        with self._changed:
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._on_their_way -= 1
                self._changed.notify_all()

    def submit(self, item: ItemT) -> ResultT:
        """Has `item` committed, and waits for that; raises what it was refused with."""
        entry: Entry[ItemT, ResultT] = Entry(item)
        with self._changed:
            self._queue.append(entry)
            self._changed.notify_all()
            self._changed.wait_for(lambda: entry.is_settled or not self._committing)
            if entry.is_settled:
                return entry.outcome()
            self._committing = True
            self._changed.wait_for(lambda: len(self._queue) >= self._on_their_way, timeout=self._linger_s)
            group, self._queue = self._queue, []
        try:
            self._commit(group)
        finally:
            with self._changed:
                self._committing = False
                self._changed.notify_all()
        return entry.outcome()
