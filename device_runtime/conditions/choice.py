"""Which source a command's `--conditions` means."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_runtime.conditions.android_adb import AdbConditions
from device_runtime.conditions.interface import AlwaysEligible, ConditionsSource, NeverEligible
from device_runtime.conditions.linux import LinuxConditions
from device_runtime.conditions.scripted import ScriptedConditions, read_script
from device_runtime.conditions.termux import TermuxConditions
from device_runtime.conditions.thresholds import Thresholds
from device_runtime.conditions.watcher import WatchedConditions

SCRIPT = "script:"
NAMES = ("auto", "linux", "adb", "termux", "always")


class UnknownSource(Exception):
    """A name that no source of conditions has."""


@contextmanager
def open_conditions(
    name: str, data_directory: Path, thresholds: Thresholds, is_ending: Callable[[], bool] = lambda: False
) -> Iterator[ConditionsSource]:
    """Opens a source whose `read` is quick; its thread ends with the context.

    Args:
      name: of `NAMES`, or `script:FILE`. "auto" is Termux inside Termux, else Linux; `adb` is never guessed, since a
        phone that happens to be plugged in need not be the one meant.
      data_directory: where the keyboard notes keystrokes.
      thresholds: what readings are held against.
      is_ending: whether the process is to end, and so nobody waits for a reading any more.

    Raises:
      UnknownSource, InvalidScript, OSError: see there.

    """
    source = _source(name, data_directory, thresholds)
    if isinstance(source, AlwaysEligible | NeverEligible | ScriptedConditions):
        yield source
        return
    with WatchedConditions(source, is_ending=is_ending) as watched:
        yield watched


def _source(name: str, data_directory: Path, thresholds: Thresholds) -> ConditionsSource:
    if name.startswith(SCRIPT):
        return ScriptedConditions(read_script(Path(name.removeprefix(SCRIPT))))
    match _guess() if name == "auto" else name:
        case "linux":
            return LinuxConditions(data_directory, thresholds)
        case "adb":
            return AdbConditions(thresholds)
        case "termux":
            return TermuxConditions(data_directory, thresholds)
        case "always":
            return AlwaysEligible()
        case "unknown":
            return NeverEligible(f"conditions of {sys.platform} cannot be read")
    raise UnknownSource(f"conditions must be one of {', '.join(NAMES)} or {SCRIPT}FILE, got {name!r}")


def _guess() -> str:
    if "TERMUX_VERSION" in os.environ:
        return "termux"
    return "linux" if sys.platform == "linux" else "unknown"
