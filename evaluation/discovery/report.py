"""A discovery's report: JSON, a page of its own, a table in the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.discovery.outcome import DiscoveryArm, DiscoveryReport, encode_discovery
from evaluation.numbers import number
from evaluation.pages import render, write_both
from evaluation.plots import COLOURS, draw_svg

NAME = "discovery"
COLUMNS = ("ε", "noise", "threshold", "words", "of one person", "precision", "recall")
MOST_LINES = 5


class Picture(NamedTuple):
    """A plot and what its lines are."""

    title: str
    lines: tuple[str, ...]
    svg: str


def write_discovery(report: DiscoveryReport, folder: Path) -> tuple[Path, Path]:
    """Writes `discovery.json` and a self-contained `discovery.html` into `folder`; returns both paths."""
    return write_both(folder, NAME, payload=encode_discovery(report), page=render_discovery(report))


def render_discovery(report: DiscoveryReport) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    populations = dict.fromkeys(arm.population for arm in report.arms)
    return render(
        "discovery.html",
        report=report,
        rows=[(title(report, arm), *cells(report, arm)) for arm in report.arms],
        columns=COLUMNS,
        pictures=[_picture(report, population) for population in populations],
        seed=report.seed,
        software=report.software,
        json_name=f"{NAME}.json",
    )


def print_discovery(report: DiscoveryReport, console: Console) -> None:
    """Prints a row for each arm."""
    about = f"{report.devices:,} devices, {report.unknown_words:,} unknown words, δ = {report.delta:g}"
    head = f"discovery: {about}; frequent: typed by {report.frequent} people or more"
    table = Table(title=head, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("noise of", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for arm in report.arms:
        table.add_row(title(report, arm), *cells(report, arm))
    console.print(table)


def title(report: DiscoveryReport, arm: DiscoveryArm) -> str:
    """Whose noise an arm has."""
    return f"{arm.population:,} devices" + (" (all)" if arm.population == report.devices else "")


def cells(report: DiscoveryReport, arm: DiscoveryArm) -> tuple[str, ...]:
    """What a table says of an arm, in the order of `COLUMNS`; noise and threshold in simulated devices."""
    found = arm.at(report.frequent)
    return (
        number(arm.epsilon),
        f"{arm.noise_deviation * arm.scale:.2f}",
        f"{arm.threshold:.1f}",
        str(arm.words),
        str(arm.lone_words),
        _percent(found.precision),
        _percent(found.recall),
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _picture(report: DiscoveryReport, population: int) -> Picture:
    arms = [arm for arm in report.arms if arm.population == population][:MOST_LINES]
    svg = draw_svg(f"noise-of-{population}", lambda axes: _draw(axes, arms), (8.4, 3.0))
    return Picture(f"noise of {title(report, arms[0])}", tuple(f"ε = {number(arm.epsilon)}" for arm in arms), svg)


def _draw(axes: Axes, arms: Sequence[DiscoveryArm]) -> None:
    """Recall by how many people typed a word, one line for each epsilon."""
    for place, arm in enumerate(arms, start=1):
        points = [(found.people, found.recall) for found in arm.found if found.recall is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=COLOURS[f"line-{place}"], linewidth=2, marker="o", markersize=4)
    axes.set_xscale("log")
    people = [found.people for found in arms[0].found]
    axes.set_xticks(people, [str(each) for each in people], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("people who typed a word, at least")
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
