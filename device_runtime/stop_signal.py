"""SIGTERM and SIGINT as something to poll and to sleep on."""

import os
import select
import signal
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Set by the first SIGTERM or SIGINT; the second one finds what was there before, and so ends a process that hangs.

    A pipe instead of a `threading.Event`: an event's lock may be held by the very thread that the handler interrupts.
    For the main thread only, as signals are.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._read_end, self._write_end = -1, -1
        self._before: dict[int, object] = {}

    def is_set(self) -> bool:
        """Whether the process is to end."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Sleeps until a signal comes, or `timeout_s`; returns whether one has come."""
        if not self._is_set:
            select.select([self._read_end], [], [], timeout_s)
        return self._is_set

    def __enter__(self) -> "StopSignal":
        self._read_end, self._write_end = os.pipe()
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        os.close(self._read_end)
        os.close(self._write_end)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._is_set = True
        self._restore()
        os.write(self._write_end, b"\0")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
        self._before = {}
