"""Runs a benchmark: ours and the reference in turn, repeated, so that a machine's moods hit both alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class Contestant(Protocol):
    """One side of a benchmark."""

    def run(self) -> float:
        """Does the work once and returns how much it took, in the benchmark's unit."""
        ...


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Repeated measurements of one side.

    Attributes:
      median: the middle value.
      iqr: interquartile range, the distance between the quarter and the three-quarter point.
      values: all of them, in the order in which they were taken.

    """

    median: float
    iqr: float
    values: tuple[float, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark's outcome; less is better.

    Attributes:
      name: of the benchmark.
      value: our median.
      unit: of `value` and `reference`.
      reference: the reference's median.
      ratio: `value` over `reference`: below 1 we are quicker.
      ours: our measurements.
      theirs: the reference's measurements.
      details: settings that bear on the figures.

    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    ours: Spread
    theirs: Spread
    details: dict[str, str | int | float]


def spread(values: list[float]) -> Spread:
    """Sums up measurements.

    >>> spread([4.0, 1.0, 3.0, 2.0, 5.0])
    Spread(median=3.0, iqr=2.0, values=(4.0, 1.0, 3.0, 2.0, 5.0))

    Raises:
      ValueError: there are fewer than two.

    """
    if len(values) < 2:
        raise ValueError(f"a spread needs at least 2 measurements, got {len(values)}")
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median=statistics.median(values), iqr=high - low, values=tuple(values))


def compare(
    name: str,
    unit: str,
    ours: Contestant,
    reference: Contestant,
    *,
    repeats: int,
    warm_ups: int = 1,
    details: dict[str, str | int | float] | None = None,
    on_turn: Callable[[], None] = lambda: None,
) -> Result:
    """Measures both sides in turn, one run each, `repeats` times, after `warm_ups` turns that do not count.

    Which side begins changes with every turn, so that neither always runs on what the other left behind.

    Args:
      name: of the benchmark.
      unit: of what the contestants return.
      ours: our side.
      reference: what we are measured against.
      repeats: turns that count, at least 2.
      warm_ups: turns that do not.
      details: settings to report.
      on_turn: called after every turn, for a progress bar.

    Raises:
      ValueError: `repeats` is below 2.

    """
    mine, theirs = take_turns((ours, reference), repeats=repeats, warm_ups=warm_ups, on_turn=on_turn)
    return Result(
        name=name,
        value=mine.median,
        unit=unit,
        reference=theirs.median,
        ratio=mine.median / theirs.median,
        ours=mine,
        theirs=theirs,
        details=details or {},
    )


def take_turns(
    sides: Sequence[Contestant], *, repeats: int, warm_ups: int = 1, on_turn: Callable[[], None] = lambda: None
) -> list[Spread]:
    """Measures all sides in turn, as `compare` does two; gives what each took, in the order of `sides`.

    Raises:
      ValueError: `repeats` is below 2.

    """
    if repeats < 2:
        raise ValueError(f"repeats must be >= 2, got {repeats}")
    taken: list[list[float]] = [[] for _ in sides]
    for turn in range(warm_ups + repeats):
        places = range(len(sides))
        for place in places if turn % 2 == 0 else reversed(places):
            value = sides[place].run()
            if turn >= warm_ups:
                taken[place].append(value)
        on_turn()
    return [spread(values) for values in taken]


def milliseconds(work: Callable[[], object], *, times: int = 1) -> float:
    """Mean wall time of one of `times` calls of `work`, in milliseconds."""
    started = time.perf_counter_ns()
    for _ in range(times):
        work()
    return (time.perf_counter_ns() - started) / 1e6 / times


@contextmanager
def progress(title: str, turns: int, console: Console) -> Iterator[Callable[[], None]]:
    """Shows a bar; the function it gives moves it on by one turn."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=turns)
        yield lambda: bar.advance(task)


def print_result(result: Result, console: Console) -> None:
    """Prints a result as a table."""
    table = Table(title=result.name, title_justify="left")
    table.add_column("")
    for column in (f"median, {result.unit}", f"interquartile range, {result.unit}"):
        table.add_column(column, justify="right")
    for label, side in (("ours", result.ours), ("reference", result.theirs)):
        table.add_row(label, f"{side.median:.2f}", f"{side.iqr:.2f}")
    table.add_row("ratio", f"{result.ratio:.3f}", "")
    console.print(table)
    console.print(", ".join(f"{name}: {value}" for name, value in result.details.items()), style="dim")
