"""The real service as a process of its own, on a loopback port, for as long as a rehearsal lasts."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.operations import gunicorn_command

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0


class ServiceDidNotStart(Exception):
    """The service ended, or did not answer in time."""


@contextmanager
def running_service(config_path: Path, log_path: Path) -> Iterator[str]:
    """Runs gunicorn until the block ends, and gives the service's address.

    Args:
      config_path: of the service, see `aggregation_service.operations.initialise`.
      log_path: takes its program log.

    Raises:
      ServiceDidNotStart: see there.

    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, CONFIG_VARIABLE: str(config_path)}
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            gunicorn_command(port=port), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            _wait_until_healthy(process, url, log_path)
            yield url
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceDidNotStart(f"the service ended with exit code {process.returncode}; its log is {log_path}")
        try:
            if requests.get(f"{url}/health", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise ServiceDidNotStart(f"the service did not answer within {_START_TIMEOUT_S:.0f} s; its log is {log_path}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
