"""Flower's server as a side of the benchmark."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from evaluation.bench.secure_session import Setting
from evaluation.bench.worker import ONE_THREAD

_DRIVER = Path(__file__).with_name("driver.py")


class FlowerFailed(Exception):
    """Flower's process ended, or its average is not that of its clients' updates."""


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver answers.

    Attributes:
      cpu_s: of the server.
      error: largest distance of a weight from the true average.
      step: of Flower's quantisation, in the same unit; rounding errs by less.

    """

    cpu_s: float
    error: float
    step: float


@dataclass(frozen=True)
class FlowerServer:
    """Flower's SecAgg+ server, behind the pipes of its process."""

    requests: IO[bytes]
    answers: IO[bytes]

    def run(self) -> float:
        """CPU seconds of one session; its clients' work, the first time, is not counted.

        Raises:
          FlowerFailed: see there.

        """
        try:
            self.requests.write(b"\n")
            self.requests.flush()
            session = msgspec.json.decode(self.answers.readline(), type=_Session)
        except (OSError, msgspec.DecodeError):
            raise FlowerFailed("Flower's process must answer, it did not; see its own words above") from None
        if not session.error <= session.step:
            raise FlowerFailed(f"Flower's average must be within {session.step} of the true one, got {session.error}")
        return session.cpu_s


@contextmanager
def flower_server(setting: Setting, python: Path) -> Iterator[FlowerServer]:
    """Starts Flower and ends it.

    Args:
      setting: its members, drop-outs, degree, threshold, value_bits and vector_length are Flower's too.
      python: of Flower's environment.

    """
    degree, threshold = setting.graph_size
    arguments = {
        "num_members": setting.num_members,
        "num_dropped": setting.num_dropped,
        "degree": degree,
        "threshold": threshold,
        "value_bits": setting.value_bits,
        "vector_length": setting.vector_length,
        "seed": setting.seed,
    }
    command = [str(python), str(_DRIVER), msgspec.json.encode(arguments).decode()]
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    if process.stdin is None or process.stdout is None:
        raise FlowerFailed("Flower's process must have pipes")
    try:
        yield FlowerServer(process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()
