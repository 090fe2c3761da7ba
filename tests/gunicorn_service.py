"""The service as its operator runs it: gunicorn, by `operations.gunicorn_command`, on a free loopback port."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.operations import gunicorn_command


@dataclass(frozen=True)
class GunicornService:
    """Running, and healthy when it was handed over."""

    port: int
    pid: int
    log_path: Path

    def connect(self, timeout_s: float = 10.0) -> socket.socket:
        """A fresh connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def exchange(self, request: bytes, timeout_s: float = 10.0) -> bytes:
        """Sends bytes, half-closes, and returns all that comes back; what cannot be sent any more is left out."""
        with self.connect(timeout_s) as connection:
            with suppress(OSError):
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def worker_pids(self) -> list[int]:
        """The processes that answer requests."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in children.split()]

    def worker_bytes(self) -> int:
        """Resident memory of all workers."""
        statuses = [Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split() for pid in self.worker_pids()]
        return sum(int(fields[1]) for fields in statuses) * os.sysconf("SC_PAGE_SIZE")


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes, or resets, the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


@contextmanager
def gunicorn_service(
    config_path: Path,
    log_path: Path,
    is_healthy: Callable[[GunicornService], bool] | None = None,
    **arguments: Any,
) -> Iterator[GunicornService]:
    """Runs it until the block ends; `arguments` are those of `gunicorn_command`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, CONFIG_VARIABLE: str(config_path)}
    with log_path.open("wb") as log:
        command = gunicorn_command(port=port, **arguments)
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        service = GunicornService(port, process.pid, log_path)
        try:
            _wait_until_healthy(service, process, is_healthy or _answers)
            yield service
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(service: GunicornService) -> bool:
    return b"200 OK" in service.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 2)


def _wait_until_healthy(
    service: GunicornService, process: subprocess.Popen[bytes], is_healthy: Callable[[GunicornService], bool]
) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, service.log_path.read_text()
        with suppress(OSError):
            if is_healthy(service):
                return
        time.sleep(0.1)
    raise AssertionError(service.log_path.read_text())
