"""HTTP connections that another thread can break.

A transfer that waits for the network sits in a system call for as long as the network likes: in `send` when nobody
reads, in `recv` when nobody answers. Polling between two chunks does not reach it, shutting its socket down does.
"""

import socket
import struct
import threading
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_DISCARD = struct.pack("ii", 1, 0)  # linger on, for 0 s: closing throws away what was not sent yet


class _Sockets:
    """The sockets of one adapter that are connected, or were."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()

    def add(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connected)

    def break_all(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
            self._sockets.clear()
        for connected in sockets:
            with suppress(OSError):  # closed already
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
                # The plain socket's method: TLS's own would forget its session under the hands of the other thread.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


class BreakableAdapter(HTTPAdapter):
    """Requests' adapter, with a way to end what its connections are doing."""

    def __init__(self) -> None:
        self._sockets = _Sockets()
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Requests' hook: makes pools whose connections tell us their sockets."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._sockets)

    def break_all(self) -> None:
        """Breaks every connection, from any thread.

        Guarantees:
          whoever waits on one of them wakes up with an error, and what was not sent yet never is. New requests work.
        """
        self._sockets.break_all()


def _pool_classes(sockets: _Sockets) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class SecureConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
