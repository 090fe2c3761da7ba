"""Runs one transfer so that it can be ended at any moment, wherever it waits."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

POLL_S = 0.05
"""How often the end is asked for: far below the second within which a transfer has to end."""
_FAREWELL_S = 0.2
UPLOAD_CHUNK_BYTES = 16 * 1024

ResultT = TypeVar("ResultT")


class TransferStopped(Exception):
    """A transfer was ended from outside."""


class TransferTimeout(Exception):
    """A transfer took longer than it may."""


class Transfer(Generic[ResultT]):
    """One call in a thread of its own, which is left behind when it must end.

    What the call raises is raised to whoever waits; after an end it interests nobody.
    """

    def __init__(self, call: Callable[["Transfer[ResultT]"], ResultT], break_off: Callable[[], None]):
        """Begins at once.

        Args:
          call: does the transfer; calls `check` of its argument between two pieces of work.
          break_off: makes `call` end soon, from another thread.

        """
        self._call = call
        self._break_off = break_off
        self._stopped = threading.Event()
        self._done = threading.Event()
        self._result: list[ResultT] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="transfer", daemon=True)
        self._thread.start()

    def wait(self, should_stop: Callable[[], bool], timeout_s: float) -> ResultT:
        """Waits for the call's result.

        Args:
          should_stop: polled every 50 ms from the thread that waits; a transfer that is quicker is never asked about.
          timeout_s: for the whole call.

        Raises:
          TransferStopped: `should_stop` said so.
          TransferTimeout: it took too long.

        """
        deadline = time.monotonic() + timeout_s
        while not self._done.wait(POLL_S):
            if should_stop():
                self._end()
                raise TransferStopped("a transfer was stopped")
            if time.monotonic() > deadline:
                self._end()
                raise TransferTimeout(f"a transfer must be complete within {timeout_s:.0f} s")
        if self._error is not None:
            raise self._error
        return self._result[0]

    def check(self) -> None:
        """For the call itself: goes no further once it was ended.

        Raises:
          TransferStopped: it was.

        """
        if self._stopped.is_set():
            raise TransferStopped("a transfer was stopped")

    def _end(self) -> None:
        self._stopped.set()
        self._break_off()
        self._thread.join(_FAREWELL_S)

    def _run(self) -> None:
        try:
            self._result.append(self._call(self))
        except Exception as error:  # carried over to the thread that waits, which raises it
            self._error = error
        finally:
            self._done.set()


class Body:
    """A request's body in small pieces, with a known length, so that it is sent with `Content-Length`."""

    def __init__(self, content: bytes, before_piece: Callable[[int], None]):
        """Takes the content.

        Args:
          content: the whole body.
          before_piece: called with the length of each piece before it goes out; may raise to send no more.

        """
        self._content = content
        self._before_piece = before_piece

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), UPLOAD_CHUNK_BYTES):
            piece = self._content[start : start + UPLOAD_CHUNK_BYTES]
            self._before_piece(len(piece))
            yield piece
