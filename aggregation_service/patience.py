"""Sockets whose patience ends: what a worker's threads read requests from and write answers to.

A request may keep a thread waiting for `request_patience_s`, and for each byte that comes or goes a little longer, so
that only senders and readers slower than `minimum_bytes_per_s` are ever given up. And of the worker's threads only half
may wait for the slow at the same time: whoever needs more than a second of waiting, besides the time its bytes take at
`_QUICK_BYTES_PER_S`, needs one of these places, and is given up if none is free.

Who sends slowly without being known waits in the event loop (`workers.py`) and holds no thread: what threads wait for
is the report of a device that has an assignment, and whoever reads an answer that is larger than the kernel's buffers,
which is a file. A crowd of such readers can hold half of the threads for long and the other half for a second each.
Against that, and where gunicorn itself speaks TLS, against crowds of slow senders too, helps a proxy that takes whole
requests and answers before it passes them on, as the one in `deploy/nginx.conf` does.
"""

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

_QUICK_S = 1.0
_HURRY_S = 0.002
_QUICK_BYTES_PER_S = 256 * 1024
_LEAST_TIMEOUT_S = 0.001  # zero would mean: do not wait, and raise another error

ResultT = TypeVar("ResultT")


class TooSlow(ConnectionResetError):
    """The other side sends or reads too slowly. A reset to gunicorn, which ends such a connection without a trace."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the other side was too slow")


class Patience:
    """What the two kinds of socket below share. `configure` is called once, before the first connection."""

    patience_s: ClassVar[float] = 10.0
    _bytes_per_s: ClassVar[float] = 8000.0
    _places: ClassVar[threading.BoundedSemaphore] = threading.BoundedSemaphore(4)

    _quick_left_s: float = _QUICK_S
    _left_s: float = 10.0
    _hurries_until: float | None = None
    _end: Callable[[], None] | None = None

    @classmethod
    def configure(cls, *, patience_s: float, bytes_per_s: float, num_threads: int) -> None:
        """Sets the bounds for all sockets of this process; half of `num_threads` (but one) may wait for the slow."""
        Patience.patience_s = Patience._left_s = patience_s
        Patience._bytes_per_s = bytes_per_s
        Patience._places = threading.BoundedSemaphore(max(1, num_threads // 2))

    def renew(self) -> None:
        """Begins a request."""
        self._quick_left_s, self._left_s = _QUICK_S, self.patience_s
        self._hurries_until, self._end = None, None

    def hurry(self) -> None:
        """Ends the patience for receiving, until the next request: only what has come already is received."""
        self._hurries_until = time.monotonic() + _HURRY_S

    def on_close(self, end: Callable[[], None]) -> None:
        """Sets what tells the worker that the request in hand is the connection's last."""
        self._end = end

    def close_after_answer(self) -> None:
        """Has the worker close the connection once the request in hand is answered, and say so in the answer."""
        if self._end is not None:
            self._end()

    def patiently(self, move: Callable[[], ResultT], count: Callable[[ResultT], int]) -> ResultT:
        """Runs `move`, which waits on this socket, for as long as the patience lasts.

        Args:
          move: receives or sends.
          count: how many bytes the result of `move` stands for.

        Raises:
          TooSlow: the patience ended, or no place among the slow was free.

        """
        try:
            return self._timed(move, count, min(self._quick_left_s, self._left_s))
        except TimeoutError:
            pass
        if not self._places.acquire(blocking=False):
            raise TooSlow
        try:
            return self._timed(move, count, self._left_s)
        except TimeoutError:
            raise TooSlow from None
        finally:
            self._places.release()

    def receive(self, move: Callable[[], bytes]) -> bytes:
        """Runs `move`, which receives, patiently or in a hurry.

        Raises:
          TooSlow: see `patiently`; in a hurry, nothing has come.

        """
        if self._hurries_until is None:
            return self.patiently(move, len)
        left_s = self._hurries_until - time.monotonic()
        if left_s <= 0:
            raise TooSlow
        try:
            return self._timed(move, len, left_s)
        except TimeoutError:
            raise TooSlow from None

    def _timed(self, move: Callable[[], ResultT], count: Callable[[ResultT], int], timeout_s: float) -> ResultT:
        num_bytes, began = 0, time.monotonic()
        self.settimeout(max(timeout_s, _LEAST_TIMEOUT_S))  # type: ignore[attr-defined]
        try:
            result = move()
            num_bytes = count(result)
            return result
        finally:
            waited_s = time.monotonic() - began
            # No more than at the beginning: what a kernel's buffer took at once buys no minutes of sleep.
            bought_s = min(_QUICK_S, self._quick_left_s + num_bytes / _QUICK_BYTES_PER_S)
            self._quick_left_s = bought_s - waited_s
            self._left_s = min(self.patience_s, self._left_s + num_bytes / self._bytes_per_s) - waited_s


class PatientSocket(Patience, socket.socket):
    """A plain connection; gunicorn receives and sends by these two methods only."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receives patiently.

        Raises:
          TooSlow: see `Patience.receive`.

        """
        receive = super().recv
        return self.receive(lambda: receive(bufsize, flags))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Sends all of `data` patiently.

        Raises:
          TooSlow: see `Patience.patiently`.

        """
        send, view = super().send, memoryview(data).cast("B")
        while view:
            view = view[self.patiently(lambda rest=view: send(rest, flags), int) :]  # type: ignore[misc]

    def recv_now(self, bufsize: int) -> bytes:
        """Receives what is there.

        Raises:
          BlockingIOError: nothing is.

        """
        return super().recv(bufsize, socket.MSG_DONTWAIT)


class PatientTlsSocket(Patience, ssl.SSLSocket):
    """A TLS connection, where gunicorn itself speaks TLS; made by `SSLContext.wrap_socket`."""

    def do_handshake(self, block: bool = False) -> None:
        """Shakes hands patiently.

        Raises:
          TooSlow: see `Patience.patiently`.

        """
        handshake = super().do_handshake
        self.patiently(lambda: handshake(block), lambda _none: 0)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receives patiently.

        Raises:
          TooSlow: see `Patience.receive`.

        """
        receive = super().recv
        return self.receive(lambda: receive(buflen, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends all of `data` patiently.

        Raises:
          TooSlow: see `Patience.patiently`.

        """
        send, view = super().send, memoryview(data).cast("B")
        while view:
            view = view[self.patiently(lambda rest=view: send(rest, flags), int) :]  # type: ignore[misc]
