"""A TCP proxy on loopback that keeps every byte it forwards: what a network would see."""

import socket
import threading
from contextlib import contextmanager, suppress


class RecordingProxy:
    """Forwards to one port; `sent` are the clients' bytes, `received` the server's."""

    def __init__(self, target_port):
        self.sent, self.received = bytearray(), bytearray()
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join(timeout=5)
        for each in self._sockets:
            each.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += client, server
                for source, target, kept in ((client, server, self.sent), (server, client, self.received)):
                    thread = threading.Thread(target=_forward, args=(source, target, kept))
                    thread.start()
                    self._threads.append(thread)


def _forward(source, target, kept):
    with suppress(OSError):
        while content := source.recv(1 << 16):
            kept += content
            target.sendall(content)
    _end(source)  # each end tells the other, whichever was closed
    _end(target)


def _end(each):
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


@contextmanager
def recording_proxy(target_port):
    proxy = RecordingProxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
