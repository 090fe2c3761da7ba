"""A side of the benchmark as a process that is asked for one round after the other; see `answering`."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from emulator.bench.answering import Round

ROOT = Path(__file__).parents[2]
_END_WITHIN_S = 20.0
_SHOWN_LOG_LINES = 10
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "FLWR_TELEMETRY_ENABLED": "0",  # what is measured here is nobody else's to know
    "RAY_USAGE_STATS_ENABLED": "0",
}


class SideFailed(Exception):
    """A side ended before it answered. The message ends with the last lines of its log."""


@dataclass
class Side:
    """One side, behind the pipes of its process. Made by `running_side`.

    Attributes:
      name: for messages.
      devices: that train in each round.
      last: the newest round; None before the first.

    """

    name: str
    devices: int
    _questions: IO[bytes]
    _answers: IO[bytes]
    _log_path: Path
    last: Round | None = None

    def run(self) -> float:
        """Devices trained a minute, in one round.

        Raises:
          SideFailed: see there.

        """
        try:
            self._questions.write(b"\n")
            self._questions.flush()
            self.last = msgspec.json.decode(self._answers.readline(), type=Round)
        except (OSError, msgspec.DecodeError):
            log = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
            raise SideFailed("\n".join([f"{self.name} must answer, it did not; its log ends:", *log])) from None
        return 60 * self.devices / self.last.seconds


@contextmanager
def running_side(
    name: str, command: Sequence[str], folder: Path, *, devices: int, environment: Mapping[str, str] | None = None
) -> Iterator[Side]:
    """Starts a side and ends it, and all that it has started.

    Args:
      name: for messages, and of its log in `folder`.
      command: a Python and a module with its arguments.
      folder: takes the log, and is what the process may call home.
      devices: that train in each of its rounds.
      environment: variables beside those of this process.

    """
    log_path = folder / f"{name}.log"
    variables = {**os.environ, **_QUIET, "PYTHONPATH": str(ROOT), "FLWR_HOME": str(folder), **(environment or {})}
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command,
            env=variables,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for whoever measures, who then ends it
        )
    if process.stdin is None or process.stdout is None:
        raise SideFailed(f"{name}'s process must have pipes")
    try:
        with process.stdout:
            yield Side(name, devices, process.stdin, process.stdout, log_path)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks for no more, so that it can end its own processes; kills what is left of its session."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_WITHIN_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
