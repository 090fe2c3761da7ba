"""Conditions from a script: for rehearsals, demonstrations and tests that need a battery to run down on time.

A script is CSV with a heading, or TOML with a `[[from]]` table for each change:

    seconds,idle,charging,unmetered          [[from]]
    0,yes,yes,yes                            seconds = 0
    3600,no,yes,yes                          idle = true
"""

import csv
import math
import time
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from device_runtime.conditions.interface import CONDITIONS, Conditions

_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_REQUIRED = ("seconds", "idle", "charging", "unmetered")


class InvalidScript(Exception):
    """A file that is no script of conditions."""


class Change(NamedTuple):
    """What holds from a moment on.

    Attributes:
      seconds: since the script began.
      holds: by condition's name.

    """

    seconds: float
    holds: Mapping[str, bool]


class ScriptedConditions:
    """Plays a script from the moment it is made. Before its first line nothing holds; its last one holds for ever."""

    def __init__(self, changes: Sequence[Change], clock: Callable[[], float] = time.monotonic):
        self._changes = sorted(changes, key=lambda change: change.seconds)
        self._clock = clock
        self._began = clock()

    def read(self) -> Conditions:
        """The conditions of this moment."""
        elapsed_s = self._clock() - self._began
        place = bisect_right(self._changes, elapsed_s, key=lambda change: change.seconds)
        holds = self._changes[place - 1].holds if place else {}
        why = f"so says the script's line for second {elapsed_s:.0f}"
        return Conditions(**{name: holds.get(name, False) for name in CONDITIONS}, why=dict.fromkeys(CONDITIONS, why))


def read_script(path: Path) -> list[Change]:
    """Reads a script, TOML if its name ends so, else CSV.

    Raises:
      InvalidScript: not such a file, a value missing, or one that is neither yes nor no.
      OSError: it cannot be read.

    """
    try:
        text = path.read_text(encoding="utf-8")
        rows: Any = tomllib.loads(text).get("from", []) if path.suffix == ".toml" else csv.DictReader(text.splitlines())
        changes = [_change(row) for row in rows]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:  # TOML and UTF-8 errors are ValueErrors too
        raise InvalidScript(f"{path.name} must be a script of conditions: {error}") from None
    if not changes:
        raise InvalidScript(f"{path.name} must be a script of conditions: it has no line")
    return changes


def _change(row: Mapping[str, Any]) -> Change:
    """One row; `charged` and `cool` hold where the script does not mention them."""
    if missing := [name for name in _REQUIRED if row.get(name) is None]:
        raise ValueError(f"a line must have {', '.join(_REQUIRED)}, got none of {', '.join(missing)}")
    if unknown := row.keys() - {"seconds", *CONDITIONS}:
        raise ValueError(f"a column must be seconds or a condition, got {unknown.pop()!r}")
    seconds = float(row["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be >= 0, got {seconds}")
    return Change(seconds, {name: _holds(row.get(name, True)) for name in CONDITIONS})


def _holds(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ValueError(f"a condition must be yes or no, got {word!r}")
    return _WORDS[word]
