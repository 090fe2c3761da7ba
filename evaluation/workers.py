"""Worker processes that end when they are told to, or when whoever made them does: Ctrl-C is for that one."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

_GRACE_S = 1.0
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Workers:
    """A pool of processes, all started when the block begins; from the main thread, since signals are its affair.

    Spawned, not forked: they hold what they are given, and nothing else. They know no Ctrl-C, which a terminal sends to
    all of its processes.

    Guarantees:
      When the block ends, for whatever reason, so do they, within 2 s: those that still compute are killed. When the
      process that made them is killed, they end at once.
    """

    def __init__(self, size: int, *, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()):
        """Args: `size` processes, each of which first calls `begin` with `arguments`."""
        self._size = size
        self._pool = ProcessPoolExecutor(
            size,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(begin, arguments),
        )

    def __enter__(self) -> Self:
        others = set(multiprocessing.active_children())
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is ignored is so in processes started now
        try:
            for _ in range(self._size):
                self._pool.submit(_nothing)
        finally:
            signal.signal(signal.SIGINT, handler)
        self._processes = set(multiprocessing.active_children()) - others
        return self

    def submit(
        self, work: Callable[_Parameters, _Result], *args: _Parameters.args, **options: _Parameters.kwargs
    ) -> "Future[_Result]":
        """Has a worker call `work`."""
        return self._pool.submit(work, *args, **options)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + _GRACE_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join(_GRACE_S)


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    """A pool's process waits for work on a pipe that it holds open itself: it would never notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """Makes a process start."""
