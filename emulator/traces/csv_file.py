"""Traces of one's own, from a CSV file.

    device,condition,start_h,end_h
    0,charging,21.5,30.25
    0,idle,22,30
    0,unmetered,18,33
    1,all,1.5,4

A row is one stretch of one device: `device` counts from 0, `condition` is idle, charging, unmetered, or all for the
three at once, and both ends are in hours since the scenario began. Rows may come in any order and overlap. A device of
the fleet that the file does not name takes the trace of device `index modulo the devices named`, in their order.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emulator.trace import HOUR_S, Trace
from emulator.traces.spans import Span, union

COLUMNS = ("device", "condition", "start_h", "end_h")
CONDITIONS = ("idle", "charging", "unmetered")
ALL = "all"
_LONGEST_H = 24 * 366.0
_MOST_DEVICES = 10_000_000
_MOST_BYTES = 1_000_000_000
_MOST_SHOWN = 40


class InvalidTraces(Exception):
    """A file of traces that cannot be used. The message names file, line, column, value and bound."""


class _Row(NamedTuple):
    device: int
    conditions: tuple[str, ...]
    span_h: Span


class CsvTraces:
    """The traces of a file, by device."""

    def __init__(self, path: Path, *, start: float):
        """Reads a file.

        Args:
          path: UTF-8, see the module's docstring.
          start: when the scenario begins, in seconds since 1970.

        Raises:
          InvalidTraces: see there.

        """
        spans: dict[int, dict[str, list[Span]]] = defaultdict(lambda: defaultdict(list))
        for row in _rows(path):
            for condition in row.conditions:
                begin, end = row.span_h
                spans[row.device][condition].append((start + HOUR_S * begin, start + HOUR_S * end))
        if not spans:
            raise InvalidTraces(f"{path} must have a row for at least 1 device, got none")
        self._traces = [
            Trace(**{name: union(conditions[name]) for name in CONDITIONS}) for _, conditions in sorted(spans.items())
        ]

    def of(self, index: int) -> Trace:
        """The trace of a device of the fleet."""
        return self._traces[index % len(self._traces)]


def _rows(path: Path) -> Iterator[_Row]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidTraces(f"{path} must have at most {_MOST_BYTES:,} bytes, got {path.stat().st_size:,}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                found = ",".join(reader.fieldnames or ())
                raise InvalidTraces(f"{path} line 1: the columns must be {','.join(COLUMNS)}, got {_shown(found)}")
            for values in reader:
                yield _row(values, f"{path} line {reader.line_num}")
    except OSError as error:
        raise InvalidTraces(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidTraces(f"{path} must be a CSV file in UTF-8") from None


def _row(values: dict[str, str | None], place: str) -> _Row:
    if None in values or None in values.values():
        raise InvalidTraces(f"{place}: a row must have {len(COLUMNS)} values")
    device = _number(values, "device", 0, _MOST_DEVICES, place)
    if device != int(device):
        raise InvalidTraces(f"{place}: device must be a whole number, got {_shown(values['device'] or '')}")
    condition = (values["condition"] or "").strip()
    if condition not in (*CONDITIONS, ALL):
        raise InvalidTraces(
            f"{place}: condition must be one of {', '.join((*CONDITIONS, ALL))}, got {_shown(condition)}"
        )
    begin = _number(values, "start_h", 0, _LONGEST_H, place)
    end = _number(values, "end_h", 0, _LONGEST_H, place)
    if end <= begin:
        raise InvalidTraces(f"{place}: end_h must be > start_h = {begin:g}, got {end:g}")
    return _Row(int(device), CONDITIONS if condition == ALL else (condition,), (begin, end))


def _number(values: dict[str, str | None], key: str, low: float, high: float, place: str) -> float:
    text = (values[key] or "").strip()
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not low <= found <= high:  # also refuses NaN
        raise InvalidTraces(f"{place}: {key} must be a number in [{low:,.0f}, {high:,.0f}], got {_shown(text)}")
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")
