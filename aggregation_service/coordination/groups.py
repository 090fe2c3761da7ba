"""Group commit among threads: whoever comes while a group is being committed waits for the next, with all others."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LINGER_S = 0.25
"""How long a group waits at most, in real time, for items that are on their way, so that they share it."""

REST = 0.5
"""How long after a commit the next begins at the earliest, as a share of the time it took. A crowd's next items, which
are still on the network then, come to share it; where there is no crowd nobody comes so soon."""


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
      on their way, or right after a commit, waits for them, `linger_s` at most.
    """

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._queue: list[Entry[ItemT, ResultT]] = []
        self._on_their_way = 0
        self._committing = False
        self._rests_until = 0.0

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

    def submit(self, item: ItemT, commit: Callable[[Sequence[Entry[ItemT, ResultT]]], None]) -> ResultT:
        """Has `item` committed, and waits for that; raises what it was refused with.

        Args:
          item: what is to be committed.
          commit: the same for all items; settles or refuses every entry that it is given, and raises nothing. (Not kept
            here: whoever owns the group would own itself then, and its megabytes wait for the garbage collector.)

        """
        entry: Entry[ItemT, ResultT] = Entry(item)
        with self._changed:
            self._queue.append(entry)
            self._changed.notify_all()
            self._changed.wait_for(lambda: entry.is_settled or not self._committing)
            if entry.is_settled:
                return entry.outcome()
            self._committing = True
            self._gather()
            group, self._queue = self._queue, []
        began = time.monotonic()
        try:
            commit(group)
        finally:
            with self._changed:
                self._rests_until = time.monotonic() + REST * (time.monotonic() - began)
                self._committing = False
                self._changed.notify_all()
        return entry.outcome()

    def _gather(self) -> None:
        """Waits for those who may share the next commit."""
        deadline = time.monotonic() + self._linger_s
        while (now := time.monotonic()) < deadline:
            is_complete = len(self._queue) >= self._on_their_way
            if is_complete and now >= self._rests_until:
                return
            self._changed.wait((min(self._rests_until, deadline) if is_complete else deadline) - now)
