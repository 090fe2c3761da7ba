"""Environments of rivals, each made once from its lock, and kept."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parents[2] / "requirements"
_STAMP = ".keychorus-lock"


class NoEnvironment(Exception):
    """An environment could not be made; the installer's own words end the message."""


def environment_python(name: str, folder: Path | None = None) -> Path:
    """The Python of an environment with exactly the packages of `requirements/<name>.txt`.

    Args:
      name: of the lock.
      folder: of the environment; without it, `keychorus/<name>` in the user's cache. Made if it is not there, or if it
        is of another lock.

    Raises:
      NoEnvironment: it cannot be made.

    """
    folder, lock = folder or _cache() / "keychorus" / name, LOCKS / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return python
    _call(lock, sys.executable, "-m", "venv", "--clear", str(folder))
    _call(
        lock,
        *(str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"),
        *("--no-deps", "--require-hashes", "-r", str(lock)),
    )
    stamp.write_text(wanted, encoding="ascii")
    return python


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _call(lock: Path, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise NoEnvironment(
            f"the environment of {lock.name} must be made by {' '.join(command)}, it failed: {done.stderr[-500:]}"
        )
