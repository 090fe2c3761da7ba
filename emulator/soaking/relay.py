"""The network between devices and service: a TCP relay on the loopback address that harms connections as it is told.

Ours, because the relays that exist for this are servers of their own in other languages (Toxiproxy, in Go).
"""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from emulator.soaking.faults import Fate, Fault

_PIECE_BYTES = 16 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: what is closed is reset."""
_STOPS_WITHIN_S = 5.0


class Relay:
    """Forwards each connection to one port, or harms it; a few threads of its own for each.

    Attributes:
      port: at which it listens.
      connections: that devices made.
      met: how many connections met each fault; a cut that a message was too short for is none.

    Guarantees:
      Of a direction that is cut after n bytes exactly the first n are sent on, and both ends see the connection end.

    """

    def __init__(
        self, target_port: int, fates: Iterator[Fate], on_connection: Callable[[], None] = lambda: None
    ) -> None:
        """Args: `fates` of connections, in the order of their making; `on_connection` is told of each."""
        self.connections = 0
        self.met: Counter[Fault] = Counter()
        self._target_port = target_port
        self._fates = fates
        self._on_connection = on_connection
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._meetings: set[threading.Thread] = set()
        self._accepting = threading.Thread(target=self._accept, name="relay", daemon=True)

    @property
    def url(self) -> str:
        """The service, as devices find it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._listener)
        self._accepting.join(_STOPS_WITHIN_S)
        self._listener.close()
        with self._lock:
            for each in self._open:
                _end(each)
            meetings = list(self._meetings)
        for meeting in meetings:
            meeting.join(_STOPS_WITHIN_S)

    def _accept(self) -> None:
        with suppress(OSError):  # of a listener that was ended
            while True:
                device, _ = self._listener.accept()
                self.connections += 1
                self._on_connection()
                meeting = threading.Thread(target=self._meet, args=(device, next(self._fates)), daemon=True)
                with self._lock:
                    self._meetings.add(meeting)
                    self._open.add(device)
                meeting.start()

    def _meet(self, device: socket.socket, fate: Fate) -> None:
        """One connection, from its first byte to its last."""
        with self._held(device):
            if fate.fault is Fault.REFUSED:
                self._note(fate.fault)
                _reset(device)
            else:
                self._forward(device, fate)
        with self._lock:
            self._meetings.discard(threading.current_thread())

    def _forward(self, device: socket.socket, fate: Fate) -> None:
        try:
            service = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            _reset(device)  # nobody listens there now, and so nobody does here
            return
        with self._held(service):
            self._exchange(device, service, fate)

    def _exchange(self, device: socket.socket, service: socket.socket, fate: Fate) -> None:
        if fate.fault is Fault.SLOWED:
            self._note(fate.fault)
        upward = threading.Thread(target=self._pump, args=(device, service, Fault.CUT_REQUEST, fate), daemon=True)
        upward.start()
        self._pump(service, device, Fault.CUT_ANSWER, fate)
        upward.join()

    def _pump(self, source: socket.socket, sink: socket.socket, cut: Fault, fate: Fate) -> None:
        """Forwards one direction up to its end, which is passed on, or up to its cut or a break, which ends both."""
        left = fate.after_bytes if fate.fault is cut else None
        try:
            while piece := source.recv(_PIECE_BYTES):
                if fate.fault is Fault.SLOWED:
                    time.sleep(fate.pause_s)
                if left is not None and len(piece) > left:
                    sink.sendall(piece[:left])
                    self._note(cut)
                    break
                sink.sendall(piece)
                left = None if left is None else left - len(piece)
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass  # one end has gone, so the other must, too
        _end(source)
        _end(sink)

    @contextmanager
    def _held(self, each: socket.socket) -> Iterator[None]:
        """Closes a socket in the end; until then it is known to whoever ends the relay."""
        with self._lock:
            self._open.add(each)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(each)
            each.close()

    def _note(self, fault: Fault) -> None:
        with self._lock:
            self.met[fault] += 1


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def _reset(each: socket.socket) -> None:
    """Has the other side see a reset, as soon as this socket is closed."""
    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
