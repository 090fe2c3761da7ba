"""When a key was pressed last: a file's time stamp, nothing else. The keyboard notes, the conditions read."""

import os
import time
from contextlib import suppress
from pathlib import Path

from device_runtime.storage.files import private_directory

ACTIVITY_FILE = "last_keystroke"
_THROTTLE_S = 0.25
_noted_at: dict[Path, float] = {}  # by file, in seconds of the monotonic clock


def note_keystroke(data_dir: Path, at: float | None = None) -> None:
    """Notes that a key was pressed.

    Cheap enough for every keystroke: at most four of them a second touch the disk, and then its cache only. A full or
    read-only disk is no reason for a keyboard to stop, so failing is silent: the device then counts as less busy than
    it is, and the load still tells.

    Args:
      data_dir: the device's data directory.
      at: seconds since 1970; None is now.

    """
    path = data_dir / ACTIVITY_FILE
    moment = time.monotonic()
    if at is None and moment - _noted_at.get(path, -_THROTTLE_S) < _THROTTLE_S:
        return
    _noted_at[path] = moment
    with suppress(OSError):
        private_directory(data_dir)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.utime(path, None if at is None else (at, at))


def last_keystroke(data_dir: Path) -> float | None:
    """When a key was pressed last, in seconds since 1970; None if never.

    Raises:
      OSError: the file is there and cannot be looked at.

    """
    try:
        return (data_dir / ACTIVITY_FILE).stat().st_mtime
    except FileNotFoundError:
        return None
