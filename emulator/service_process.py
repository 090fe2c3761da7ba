"""The real service as a process of its own, on a loopback port, for as long as a rehearsal lasts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.operations import gunicorn_command
from device_runtime.environment import new_session

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 2.0
_SHOWN_LOG_LINES = 10


class ServiceStopped(Exception):
    """The service ended, or did not answer in time. The message ends with the last lines of its log."""


@dataclass(frozen=True)
class RunningService:
    """A service that was healthy when it was handed over."""

    url: str
    _process: subprocess.Popen[bytes]
    _log_path: Path

    @property
    def pid(self) -> int:
        """Of gunicorn's main process, whose children serve."""
        return self._process.pid

    def require_alive(self) -> None:
        """Checks that its process still runs.

        Raises:
          ServiceStopped: it does not.

        """
        if self._process.poll() is not None:
            raise self.stopped(f"the service ended with exit code {self._process.returncode}")

    def crash(self) -> None:
        """Kills all of its processes at once, as a power cut would; returns when nobody listens any more."""
        _kill(self._process)
        _wait_until_silent(int(self.url.rpartition(":")[2]))

    def stopped(self, what: str) -> ServiceStopped:
        """The error that tells what happened; its log lies in a folder that will be gone."""
        last = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
        return ServiceStopped("\n".join([f"{what}; its log ends:", *last]))


@contextmanager
def running_service(
    config_path: Path,
    log_path: Path,
    *,
    port: int | None = None,
    seed: str | None = None,
    lie_path: Path = Path(os.devnull),
    workers: int = 1,
) -> Iterator[RunningService]:
    """Runs gunicorn until the block ends, which it does within 5 s.

    Args:
      config_path: of the service, see `aggregation_service.operations.initialise`.
      log_path: takes its program log, behind what stands there.
      port: on the loopback address; None for a free one.
      seed: of its randomness, see `emulator.seeded_service`; None for the service as it is.
      lie_path: where what it lies about is written, see `emulator.lying_service`; only with a seed.
      workers: processes that serve; with a seed, one.

    Raises:
      ServiceStopped: see there.

    """
    port = free_port() if port is None else port
    environment = {**os.environ, CONFIG_VARIABLE: str(config_path)}
    command = gunicorn_command(port=port, workers=workers)
    if seed is not None:
        arguments = command[command.index("gunicorn") + 1 :]
        command = [
            sys.executable,
            "-m",
            "emulator.seeded_service",
            *arguments,
            f"emulator.seeded_service:app({seed!r}, {str(lie_path)!r})",
        ]
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever rehearses, who then ends it
        )
        try:
            service = RunningService(f"http://127.0.0.1:{port}", process, log_path)
            _wait_until_healthy(service)
            yield service
        finally:
            _stop(process)


def free_port() -> int:
    """A port of the loopback address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(service: RunningService) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with new_session() as session:
        while time.monotonic() < deadline:
            service.require_alive()
            with suppress(requests.RequestException):
                if session.get(f"{service.url}/health", timeout=2).ok:
                    return
            time.sleep(0.1)
    raise service.stopped(f"the service did not answer within {_START_TIMEOUT_S:.0f} s")


def _wait_until_silent(port: int) -> None:
    """A worker that outlives its parent by a moment still takes connections, and whoever makes one sees another end."""
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of its session: workers outlive their parent by a while."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
