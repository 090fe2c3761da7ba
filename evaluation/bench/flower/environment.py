"""Flower's own environment: made once from its lock, and kept."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[3] / "requirements" / "flower.txt"
_STAMP = ".keychorus-lock"


class NoFlower(Exception):
    """Flower's environment could not be made; the installer's own words end the message."""


def flower_python(folder: Path | None = None) -> Path:
    """The Python of an environment with exactly the packages of `requirements/flower.txt`.

    Args:
      folder: of the environment; without it, `keychorus/flower` in the user's cache. Made if it is not there, or if it
        is of another lock.

    Raises:
      NoFlower: it cannot be made.

    """
    folder = folder or _cache() / "keychorus" / "flower"
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return python
    _call(sys.executable, "-m", "venv", "--clear", str(folder))
    _call(
        *(str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"),
        *("--no-deps", "--require-hashes", "-r", str(LOCK)),
    )
    stamp.write_text(wanted, encoding="ascii")
    return python


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise NoFlower(f"Flower's environment must be made by {' '.join(command)}, it failed: {done.stderr[-500:]}")
