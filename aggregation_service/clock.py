"""Where the service's time comes from: the system, or the file in which a rehearsal keeps its virtual time."""

import math
import os
import struct
import time
from pathlib import Path
from typing import Protocol

_TIME = struct.Struct("<d")


class ClockError(Exception):
    """A clock file that does not hold a time."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()


class FileClock:
    """A clock that another process moves: the file holds one little-endian float64, seconds since 1970.

    An emulated fleet lives days in minutes; through this file the real service lives them too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> float:
        """Seconds since 1970.

        Raises:
          ClockError: the file is missing, not of 8 bytes, or holds no finite number.

        """
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise ClockError(f"clock file {self._path} cannot be read: {error.strerror}") from None
        if len(content) != _TIME.size:
            raise ClockError(f"clock file {self._path} must have {_TIME.size} bytes, got {len(content)}")
        (now,) = _TIME.unpack(content)
        if not math.isfinite(now):
            raise ClockError(f"clock file {self._path} must hold a finite number, got {now}")
        return float(now)


def set_file_clock(path: Path, now: float) -> None:
    """Rehearsal: sets the time of `FileClock(path)`, in one write so that no reader meets half a number."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, _TIME.pack(now), 0)
    finally:
        os.close(descriptor)
