"""An evaluation's report: JSON, a page of its own, tables in the terminal."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.evaluate.bootstrap import MEASURES, Interval
from evaluation.evaluate.outcome import (
    Comparison,
    Evaluation,
    Latency,
    Measured,
    PopulationFound,
    Slice,
    decode_evaluation,
    encode_evaluation,
)
from evaluation.evaluate.plots import colour_of, draw_population, draw_rounds
from evaluation.numbers import number, percent
from evaluation.pages import render, write_both

NAME = "report"
_COMPARED = ("top1", "top3", "keystroke_savings")
_PRINTED = ("top1", "top3", "keystroke_savings", "perplexity")
"""Measures that a terminal has room for."""
ABSENT = "–"


class Section(NamedTuple):
    """A table: its title, columns, and rows whose first cell is their name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Chapter(NamedTuple):
    """What the page shows of one population."""

    found: PopulationFound
    accuracy: Section
    comparisons: Section
    users: Section
    groups: Sequence[Section]
    plots: dict[str, str]


def write_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Writes `report.json` and a self-contained `report.html` into `folder`; returns both paths."""
    payload = encode_evaluation(evaluation)
    page = render_evaluation(decode_evaluation(payload))  # what the page says is what the file says
    return write_both(folder, NAME, payload=payload, page=page)


def render_evaluation(evaluation: Evaluation) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    names = list(dict.fromkeys(each.predictor for found in evaluation.populations for each in found.predictors))
    return render(
        "evaluation.html",
        evaluation=evaluation,
        chapters=[_chapter(found) for found in evaluation.populations],
        latency=latency_section(evaluation.latency),
        rounds_plot=evaluation.rounds and draw_rounds(evaluation.rounds),
        names=names,
        colour_of=colour_of,
        seed=evaluation.seed,
        software=evaluation.software,
        json_name=f"{NAME}.json",
    )


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints accuracy and comparisons of each population, and latency."""
    for section in _printed(evaluation):
        table = Table(
            title=section.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for place, column in enumerate(section.columns):
            table.add_column(column.replace(" ", "\n", 1), justify="right" if place else "left", no_wrap=True)
        for row in section.rows:
            table.add_row(*(cell.replace(" (", "\n(") for cell in row))
        console.print(table)
    for sentence in evaluation.absent:
        console.print(f"Left out: {sentence}", highlight=False, markup=False)


def _printed(evaluation: Evaluation) -> Iterator[Section]:
    for found in evaluation.populations:
        yield accuracy_section(found, _PRINTED)
        if found.comparisons:
            yield _narrow(comparisons_section(found))
    yield latency_section(evaluation.latency)


def _narrow(section: Section) -> Section:
    """A comparison without its last columns, and with the measure's name in two lines: a terminal has little room."""
    rows = [(row[0], row[1].replace(" ", "\n", 1), *row[2:-3]) for row in section.rows]
    return Section(section.title, section.columns[:-3], rows)


def _chapter(found: PopulationFound) -> Chapter:
    return Chapter(
        found,
        accuracy_section(found),
        comparisons_section(found),
        users_section(found),
        list(group_sections(found)),
        draw_population(found),
    )


def accuracy_section(found: PopulationFound, names: Sequence[str] = tuple(MEASURES)) -> Section:
    """A row for each predictor, a column for each measure of `names`."""
    title = f"{found.title}: {found.users:,} users, {found.words:,} words"
    rows = [(_name(each), *(_cell(name, each.measures.get(name)) for name in names)) for each in found.predictors]
    return Section(title, ("", *(MEASURES[name].label for name in names)), rows)


def comparisons_section(found: PopulationFound) -> Section:
    """A row for each predictor but the reference, and for each measure that is compared."""
    reference = found.comparisons[0].reference if found.comparisons else ""
    columns = ("", "measure", "difference, points", "relative, %", "better for", "worse for", "it", reference, "users")
    rows = [_compared(each, name) for each in found.comparisons for name in _COMPARED if name in each.differences]
    return Section(f"{found.title}: against {reference}", columns, rows)


def _compared(each: Comparison, name: str) -> tuple[str, ...]:
    ratio = each.ratios.get(name)
    return (
        each.predictor,
        MEASURES[name].label,
        _interval(each.differences[name], lambda value: f"{100 * value:+.2f}".replace("-", "−")),
        ABSENT if ratio is None else _interval(ratio, lambda value: f"{100 * value - 100:+.1f}".replace("-", "−")),
        percent(each.better_for[name]),
        percent(each.worse_for[name]),
        *(f"{100 * found[name].value:.2f}" for found in (each.measures, each.reference_measures)),
        f"{each.users:,}",
    )


def users_section(found: PopulationFound) -> Section:
    """The least, the median and the best served tenth."""
    columns = ("", "measure", "10th", "median", "90th percentile user")
    rows = [
        (each.predictor, MEASURES[name].label, *(percent(value) for value in (spread.p10, spread.p50, spread.p90)))
        for each in found.predictors
        for name, spread in each.spreads.items()
        if name in _COMPARED
    ]
    return Section(f"{found.title}: user by user", columns, rows)


def group_sections(found: PopulationFound) -> Iterator[Section]:
    """Tables by message length and, where the corpus names them, by user group."""
    for title, field in (("by words of the message", "by_message_length"), ("by user group", "by_group")):
        rows = [_sliced(each, part) for each in found.predictors for part in getattr(each, field)]
        if rows:
            columns = ("", "which", "users", "words", *(MEASURES[name].label for name in _COMPARED))
            yield Section(title, columns, rows)


def _sliced(each: Measured, part: Slice) -> tuple[str, ...]:
    cells = (_cell(name, part.measures.get(name)) for name in _COMPARED)
    return (each.predictor, part.name, f"{part.users:,}", f"{part.words:,}", *cells)


def latency_section(latency: dict[str, Latency]) -> Section:
    """A row for each predictor."""
    rows = [
        (name, f"{each.median_ms:.2f} ms", f"{each.p99_ms:.2f} ms", f"{each.keystrokes:,}")
        for name, each in latency.items()
    ]
    return Section("One keystroke, here", ("", "median", "99th percentile", "keystrokes"), rows)


def _name(each: Measured) -> str:
    return f"{each.predictor} (sample)" if each.sample else each.predictor


def _cell(name: str, interval: Interval | None) -> str:
    if interval is None:
        return ABSENT
    if MEASURES[name].exponential:
        return _interval(interval, number)
    return _interval(interval, lambda share: f"{100 * share:.2f}")


def _interval(interval: Interval, write: Callable[[float], str]) -> str:
    return f"{write(interval.value)} ({write(interval.low)}…{write(interval.high)})"
