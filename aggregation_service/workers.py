"""A gunicorn worker that no sender can occupy by being slow.

gunicorn's own threaded worker gives a connection to a thread as soon as it is made, and waits there: for the first
byte up to 5 s, for the rest of the head and the body for ever, and at the end up to 2 s in its event loop, where all
other connections wait with it. Here instead the event loop gathers heads and the bodies of messages, which costs no
thread; threads wait for larger bodies, as `aggregation_service/patience.py` says; and the event loop, not anybody's
waiting, closes connections.

Where gunicorn itself speaks TLS, the handshake, the head and all bodies are waited for in a thread, patiently.
"""

import errno
import re
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from aggregation_service.logs import log, log_event
from aggregation_service.patience import Patience, PatientSocket
from protocol.messages import MAX_MESSAGE_BYTES

MAX_HEAD_BYTES = 32 * 1024
_CHUNK_BYTES = 64 * 1024
_LINGER_S = 2.0
_LINGER_BYTES_PER_S = 256 * 1024
_MAX_DRAINED_BYTES = 32 * 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_WAITING = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)

_STATUS_OF_ERROR: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}


class PatientConnection(TConn):  # type: ignore[misc]
    """A connection, whose next request is gathered before a thread sees it: its head, and the body of a message.

    Attributes:
      gathered: what the event loop received of the next request.
      num_wanted: how many bytes it is to have; None until its head is complete.
      is_late: whether they were waited for long enough.
      drained_bytes: what was thrown away since the last answer.

    """

    def __init__(self, cfg: Any, sock: PatientSocket, client: Any, server: Any, worker: "PatientWorker") -> None:
        super().__init__(cfg, sock, client, server)
        self._worker = worker
        self.gathered = bytearray()
        self.num_wanted: int | None = None
        self.is_late = False
        self.drained_bytes = 0

    def init(self) -> None:
        """Runs in a thread before each request: makes the parser, and gives it what was gathered."""
        super().init()
        self.sock.renew()
        if self.is_late:
            self.sock.hurry()
        if self.gathered:
            self.parser.unreader.unread(bytes(self.gathered))
        self.gathered.clear()
        self.num_wanted, self.is_late = None, False

    def gather(self, received: bytes) -> bool:
        """Takes what was received of the next request; returns whether that is all that a thread should not wait for.

        The parser, which reads all of it again, is strict about lengths; here a wrong one costs time at most.
        """
        self.gathered += received
        if self.num_wanted is None:
            head, end, _body = self.gathered.partition(b"\r\n\r\n")
            if not end:
                return False
            length = _LENGTH.search(head + b"\r\n")
            num_bytes = 0 if length is None else int(length[1])
            self.num_wanted = len(head) + len(end) + (num_bytes if num_bytes <= MAX_MESSAGE_BYTES else 0)
        return len(self.gathered) >= self.num_wanted

    def close(self, graceful: bool = False) -> None:
        """Runs in the event loop, and never waits: a graceful close goes on there."""
        if not graceful or not self._worker.linger(self):
            super().close()


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. What it overrides are methods of gunicorn 27, all of which tests go through."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lingering: set[PatientConnection] = set()
        self._looks_at = 0.0

    def load_wsgi(self) -> None:
        """Makes the app, and learns from its configuration how patient to be."""
        # Not earlier: the main process must not load prometheus_client before its folder is named.
        from aggregation_service.service import EXTENSION

        super().load_wsgi()
        config = self.wsgi.extensions[EXTENSION].config
        Patience.configure(
            patience_s=config.request_patience_s,
            bytes_per_s=config.minimum_bytes_per_s,
            num_threads=self.cfg.threads,
        )

    def accept(self, listener: socket.socket) -> None:
        """Takes a connection, and waits for its first head in the event loop."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in _WAITING:
                raise
            return
        self.nr_conns += 1
        patient = PatientSocket(fileno=sock.detach())
        self._await_head(PatientConnection(self.cfg, patient, client, listener.getsockname(), self))

    def on_client_socket_readable(self, conn: PatientConnection, client: Any) -> None:
        """A connection that was kept open sends its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def on_pending_socket_readable(self, conn: PatientConnection, client: Any) -> None:
        """Gathers; a thread gets the connection when all is there that is worth waiting for here."""
        if not self.cfg.is_ssl:
            try:
                received = conn.sock.recv_now(_CHUNK_BYTES)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            had_head = conn.num_wanted is not None
            if not conn.gather(received):
                if conn.num_wanted is None:
                    self._check_head(conn, has_ended=not received)
                    return
                if received:
                    if not had_head:
                        self._wait_longer(conn)
                    return
        super().on_pending_socket_readable(conn, client)

    def enqueue_req(self, conn: PatientConnection) -> None:
        """Gives a connection to a thread; but first gathers the rest of a request that was sent along with the last."""
        ahead = b"" if self.cfg.is_ssl or conn.parser is None else conn.parser.unreader.take_buffered()
        if ahead and not conn.gather(ahead):
            self._await_head(conn)
        else:
            super().enqueue_req(conn)

    def murder_pending(self) -> None:
        """Ends what waited too long: for a head, with a word if one had begun, and for the other side to close.

        A request whose body waited too long goes to a thread as it is, which refuses it as any other.
        """
        now = time.monotonic()
        sooner_s = 0.0 if self.alive else Patience.patience_s - _LINGER_S  # a worker that stops waits less
        while self.pending_conns and self.pending_conns[0].timeout - sooner_s <= now:
            conn = self.pending_conns[0]
            if conn.num_wanted is not None:
                conn.is_late = True
                super().on_pending_socket_readable(conn, conn.sock)
                continue
            self.pending_conns.popleft()
            self._give_up(conn, HTTPStatus.REQUEST_TIMEOUT if conn.gathered else None)
        if now >= self._looks_at:
            self._looks_at = now + _LINGER_S / 4
            for conn in [each for each in self.lingering if each.timeout <= now]:
                self._end_lingering(conn)

    def handle_request(self, req: Any, conn: PatientConnection) -> bool:
        """Answers a request, and lets the app say that it is the connection's last."""
        conn.sock.on_close(req.force_close)
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: PatientConnection, keepalive: bool) -> bool:
        """Whether another request may follow: not after a body that nobody read and that has not come yet."""
        conn.sock.hurry()
        return bool(super()._keepalive_after(conn, keepalive))

    def linger(self, conn: PatientConnection) -> bool:
        """Sends the end of the stream, then throws away what comes until the other side has read and closed.

        A connection closed with bytes unread is reset, and the answer may be lost with it. It ends with the first
        `_LINGER_S` of silence, or when it was slower than `_LINGER_BYTES_PER_S` for so long.

        Returns:
          Whether it will be closed later; False if the caller must close it now.

        """
        if len(self.lingering) >= self.worker_connections:
            return False
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, RuntimeError):  # gone already, or the event loop is
            return False
        conn.timeout = time.monotonic() + _LINGER_S
        conn.drained_bytes = 0
        self.lingering.add(conn)
        return True

    def handle_error(self, req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Answers what is not HTTP; unlike gunicorn's, quotes nothing of it, to the sender or in the log."""
        status = _STATUS_OF_ERROR.get(type(exc), HTTPStatus.BAD_REQUEST)
        if isinstance(exc, errors.ParseException | errors.NoMoreData | OSError):
            log_event("not_http", because=type(exc).__name__, status=status.value)
        else:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            log.error("internal_error", exc_info=exc)
        with suppress(OSError):
            client.sendall(_answer(status))

    def _await_head(self, conn: PatientConnection) -> None:
        conn.sock.setblocking(False)
        conn.data_ready = False
        conn.timeout = time.monotonic() + Patience.patience_s
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _check_head(self, conn: PatientConnection, *, has_ended: bool) -> None:
        """Ends a connection whose head is too long already, or will never be complete."""
        if has_ended or len(conn.gathered) > MAX_HEAD_BYTES:
            self.pending_conns.remove(conn)
            status = HTTPStatus.BAD_REQUEST if has_ended else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._give_up(conn, status if conn.gathered else None)

    def _wait_longer(self, conn: PatientConnection) -> None:
        """Waits for the body as long again as it did for the head."""
        self.pending_conns.remove(conn)
        conn.timeout = time.monotonic() + Patience.patience_s
        self.pending_conns.append(conn)

    def _give_up(self, conn: PatientConnection, status: HTTPStatus | None) -> None:
        """Ends a connection whose head never became complete."""
        self._forget(conn)
        self.nr_conns -= 1
        if status is not None:
            log_event("not_http", because="head", status=status.value)
            with suppress(OSError):
                conn.sock.send(_answer(status))
        conn.close(graceful=status is not None)

    def _drain(self, conn: PatientConnection, _client: Any) -> None:
        try:
            received = socket.socket.recv(conn.sock, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        conn.drained_bytes += len(received)
        conn.timeout = min(conn.timeout + len(received) / _LINGER_BYTES_PER_S, time.monotonic() + _LINGER_S)
        if not received or conn.drained_bytes > _MAX_DRAINED_BYTES:
            self._end_lingering(conn)

    def _end_lingering(self, conn: PatientConnection) -> None:
        self.lingering.remove(conn)
        self._forget(conn)
        conn.close()

    def _forget(self, conn: PatientConnection) -> None:
        with suppress(OSError, KeyError, ValueError):  # it may be gone already
            self.poller.unregister(conn.sock)


def _answer(status: HTTPStatus) -> bytes:
    """A bare answer, for whoever did not get as far as the app."""
    return f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode("ascii")
