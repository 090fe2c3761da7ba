"""What a person is told of the typing log: what is held, when it goes, when it was trained on, and what was sent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from device_runtime.commands.options import open_log
from device_runtime.diary import DIARY_FILE, Diary, DiaryTotals
from device_runtime.storage.keys import KeyPlace
from device_runtime.typing_log import Counts, Switches, TypingLog


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers, times and switches; times are seconds since 1970. Never text.

    Attributes:
      switches: what the person allows.
      counts: what is held.
      file_bytes: size of the database with everything in it.
      oldest_expires_at: when the oldest message goes; None if none is held.
      damaged_files: databases that were set aside.
      key_place: where the key is kept.
      totals: what was done and sent since the diary began.

    """

    switches: Switches
    counts: Counts
    file_bytes: int
    oldest_expires_at: float | None
    damaged_files: int
    key_place: KeyPlace
    totals: DiaryTotals


def read_report(data_dir: Path, place: KeyPlace | None = None) -> LogReport:
    """Looks at the log and the diary of a data directory.

    Raises:
      UnusableKey: the key of the log cannot be had.
      sqlite3.OperationalError: the log or the diary cannot be read.

    """
    with open_log(data_dir, place) as log, Diary(data_dir / DIARY_FILE) as diary:
        return _report(log, diary)


def _report(log: TypingLog, diary: Diary) -> LogReport:
    counts = log.counts()
    return LogReport(
        switches=log.switches,
        counts=counts,
        file_bytes=log.path.stat().st_size if log.path.exists() else 0,
        oldest_expires_at=None if counts.oldest_at is None else counts.oldest_at + log.retention_s,
        damaged_files=len(log.files_set_aside()),
        key_place=log.key_place,
        totals=diary.totals(),
    )


def as_json(report: LogReport) -> str:
    """The report as one JSON object, its fields named as they are here."""
    counts = report.counts._asdict()
    switches = msgspec.to_builtins(report.switches) | {"deny_list": sorted(report.switches.deny_list)}
    fields = msgspec.to_builtins(report) | {"switches": switches, "counts": counts}
    return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def as_lines(report: LogReport) -> Iterator[str]:
    """The report for a person, a line a fact."""
    counts, totals = report.counts, report.totals
    yield f"logging            {_state(report.switches)}"
    yield f"personal words     {'on' if report.switches.personal else 'off'}"
    if report.switches.deny_list:
        yield f"never logged       {', '.join(sorted(report.switches.deny_list))}"
    yield f"messages held      {counts.messages}"
    yield f"words held         {counts.words}"
    yield f"size               {_bytes(counts.bytes)}, {_bytes(report.file_bytes)} on disk"
    if counts.oldest_at is not None and report.oldest_expires_at is not None:
        yield f"oldest from        {_time(counts.oldest_at)}, expires {_time(report.oldest_expires_at)}"
    if counts.unreadable:
        yield f"unreadable         {counts.unreadable} messages were deleted, since nothing could open them"
    if report.damaged_files:
        yield f"damaged            {report.damaged_files} files are set aside; a wipe deletes them, too"
    yield f"key kept in        {report.key_place}"
    yield f"last trained on    {_time_or_never(totals.last_trained_at)}{_times(totals.trained)}"
    yield f"last reported      {_time_or_never(totals.last_reported_at)}{_times(totals.reported)}"
    yield f"sent               {_bytes(totals.bytes_up)}"
    yield f"received           {_bytes(totals.bytes_down)}"


def show_log(data_dir: Path, place: KeyPlace | None = None) -> None:
    """Prints the report for a person."""
    for line in as_lines(read_report(data_dir, place)):
        click.echo(line)


def _state(switches: Switches) -> str:
    if not switches.consent:
        return "off"
    resting = [name for name in ("paused", "incognito") if getattr(switches, name)]
    return f"on, but {' and '.join(resting)}" if resting else "on"


def _bytes(number: float) -> str:
    """A size as people read it.

    >>> _bytes(999), _bytes(1_234_567)
    ('999 bytes', '1.2 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} bytes"


def _times(number: int) -> str:
    return f", {number} times in all" if number > 1 else ""


def _time_or_never(at: float | None) -> str:
    return "never" if at is None else _time(at)


def _time(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):  # stamped by a clock that was far off
        return "an impossible time"
