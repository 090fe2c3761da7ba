"""A service to measure: made in a folder of its own, with enrolled devices, served by gunicorn as an operator would."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from aggregation_service import operations
from aggregation_service.config import (
    CONFIG_VARIABLE,
    ServiceConfig,
    create_signing_key,
    load_config,
    load_signing_key,
    render_config,
)
from aggregation_service.identity import devices
from aggregation_service.storage import books
from aggregation_service.storage.database import Database
from protocol.messages import CheckIn, encode_message
from protocol.routes import check_ins
from protocol.signed_requests import sha256_hex, sign_request

POPULATION = "bench"
_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
_SHOWN_LOG_LINES = 10
_RATE = "100000000/minute"
"""Requests are counted as always, but all devices call from one address here, and some do so in every round."""


class ServiceFailed(Exception):
    """The service ended, did not answer, or answered what it must not. The message ends with its log's last lines."""


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A request whose signature was made beforehand, so that the clock measures the service and not its callers."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Fleet:
    """Enrolled devices. They share one key, which the service does not mind and which halves what a bench prepares."""

    def __init__(self, config: ServiceConfig, folder: Path, num_devices: int) -> None:
        self._key = create_signing_key(folder / "devices.key")
        self._service = load_signing_key(config.signing_key_path).public_key()
        self.device_ids = [secrets.token_hex(16) for _ in range(num_devices)]
        database = Database(config.database_url)
        try:
            with database.write() as connection:
                for device_id in self.device_ids:
                    now = time.time()
                    public = self._key.public_key()
                    devices.add(connection, POPULATION, device_id, public, enrolled_by="open", now=now)
                    books.note_seen(connection, POPULATION, device_id, "bench", now)  # pace steering knows them all
        finally:
            database.close()

    def check_in(self, device_id: str) -> SignedRequest:
        """A check-in, signed now."""
        body = encode_message(CheckIn(device_id=device_id, runtime="bench", num_examples=1000))
        path = check_ins(POPULATION)
        request = SignedRequest(method="POST", path=path, headers={"Content-Type": "application/json"}, body=body)
        return self.sign(request, device_id, sha256_hex(body))

    def sign(self, request: SignedRequest, device_id: str, body_sha256: str) -> SignedRequest:
        """Adds to a request the headers that sign it, with the current time and a fresh nonce."""
        signature = sign_request(
            self._key,
            service=self._service,
            method=request.method,
            path=request.path,
            body_sha256=body_sha256,
            device_id=device_id,
            at=int(time.time()),
            nonce=secrets.token_hex(16),
        )
        return replace(request, headers={**request.headers, **signature})


@dataclass(frozen=True)
class Served:
    """A service that answers."""

    config: ServiceConfig
    port: int
    _process: subprocess.Popen[bytes]
    _log_path: Path

    def connect(self) -> HTTPConnection:
        """A connection that is kept alive, for one thread."""
        return HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def pid(self) -> int:
        """The process id of gunicorn's master, whose children are the workers."""
        return self._process.pid

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        pid = self.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def peak_mb(self) -> float:
        """The largest resident memory that any worker has had, in units of 10^6 bytes."""
        return max(_peak_bytes(worker) for worker in self.workers()) / 1e6

    def failed(self, what: str) -> ServiceFailed:
        """The error that says what happened, and what the service had to say about it."""
        last = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
        return ServiceFailed("\n".join([f"{what}; the service's log ends:", *last]))

    def ask(self, connection: HTTPConnection, request: SignedRequest) -> bytes:
        """Sends a request and returns the body of a good answer.

        Raises:
          ServiceFailed: the connection broke, or the answer was not 200.

        """
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            raise self.failed(f"the service did not answer: {type(error).__name__}") from None
        if response.status != 200:
            raise self.failed(f"the service must answer 200, got {response.status}: {body[:200].decode()}")
        return body


def make_service(folder: Path, database_url: str | None) -> ServiceConfig:
    """Makes a service with one population, in an empty folder.

    Args:
      folder: for its configuration, keys and log.
      database_url: an empty PostgreSQL database, or None for SQLite in `folder`.

    """
    paths = operations.initialise(folder, database_url=database_url)
    config = replace(load_config(paths.config_path), address_rate_limit=_RATE, device_rate_limit=_RATE)
    paths.config_path.write_text(render_config(config), encoding="utf-8")
    operations.add_population(config, POPULATION)
    return config


@contextmanager
def served(config: ServiceConfig, folder: Path, *, workers: int) -> Iterator[Served]:
    """Runs gunicorn with the command of `keychorus service run` until the block ends.

    Raises:
      ServiceFailed: it did not start.

    """
    port = _free_port()
    environment = {**os.environ, CONFIG_VARIABLE: str(folder / "service.toml")}
    command = operations.gunicorn_command(port=port, workers=workers)
    log_path = folder / "service.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: S603
        try:
            service = Served(config, port, process, log_path)
            _wait_until_healthy(service, workers)
            yield service
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_WITHIN_S)
            process.kill()
            process.wait()


def _wait_until_healthy(service: Served, workers: int) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline and service._process.poll() is None:  # noqa: SLF001
        with suppress(OSError, HTTPException), closing(service.connect()) as connection:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200 and len(service.workers()) == workers:
                return
        time.sleep(0.1)
    raise service.failed(f"the service must start and answer within {_START_WITHIN_S:.0f} s")


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
