"""A rehearsal's report: JSON, a page of its own, a table in the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.pages import render, write_both
from evaluation.plots import draw_lines
from evaluation.rehearsal.outcome import ArmOutcome, Comparison, Rehearsal, encode_rehearsal

NAME = "rehearsal"
COLUMNS = ("top-1", "difference", "top-3", "backdoor", "rounds lost", "groups dropped")


class Picture(NamedTuple):
    """A plot and what its lines are."""

    title: str
    lines: tuple[str, ...]
    svg: str


def write_rehearsal(rehearsal: Rehearsal, folder: Path) -> tuple[Path, Path]:
    """Writes `rehearsal.json` and a self-contained `rehearsal.html` into `folder`; returns both paths."""
    page = render_rehearsal(rehearsal)
    return write_both(folder, NAME, payload=encode_rehearsal(rehearsal), page=page)


def render_rehearsal(rehearsal: Rehearsal) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    before = ("before the first round", _percent(rehearsal.pretrained.top1), "", _percent(rehearsal.pretrained.top3))
    rows = [(*before, "", "", ""), *((arm.name, *cells(rehearsal, arm)) for arm in rehearsal.arms)]
    return render(
        "rehearsal.html",
        rehearsal=rehearsal,
        rows=rows,
        columns=COLUMNS,
        pictures=list(_pictures(rehearsal)),
        seed=rehearsal.seed,
        software=rehearsal.software,
        json_name=f"{NAME}.json",
    )


def print_rehearsal(rehearsal: Rehearsal, console: Console) -> None:
    """Prints a row for each arm."""
    rounds = len(rehearsal.arms[0].rounds)
    title = f"{rehearsal.name}: {rounds} rounds of {rehearsal.cohort} devices, {rehearsal.size} network"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("percent and points", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_row("before", _percent(rehearsal.pretrained.top1), "", _percent(rehearsal.pretrained.top3))
    for arm in rehearsal.arms:
        table.add_row(arm.way if arm.attack is None else f"  {arm.attack}", *cells(rehearsal, arm))
    console.print(table)


def cells(rehearsal: Rehearsal, arm: ArmOutcome) -> tuple[str, ...]:
    """What a table says of an arm, in the order of `COLUMNS`."""
    compared = next((each for each in rehearsal.comparisons if each.arm == arm.name), None)
    return (
        _percent(arm.accuracy.top1),
        "" if compared is None else _points(compared),
        _percent(arm.accuracy.top3),
        f"{100 * arm.backdoor_success:.0f}",
        str(arm.lost_rounds),
        str(arm.dropped_groups),
    )


def _percent(share: float) -> str:
    """Two digits behind the point, without the sign: differences of a hundredth are what arms are run for."""
    return f"{100 * share:.2f}"


def _points(compared: Comparison) -> str:
    return f"{compared.top1.points:+.2f} ± {compared.top1.margin:.2f}".replace("-", "−")


def _pictures(rehearsal: Rehearsal) -> Iterator[Picture]:
    """One for all arms of a codec's rehearsal; else one for each way."""
    if rehearsal.name == "codec":
        yield _picture(rehearsal, "All arms", "codec", {arm.name: arm for arm in rehearsal.arms})
        return
    for number, way in enumerate(dict.fromkeys(arm.way for arm in rehearsal.arms)):
        arms = {arm.attack or "nobody attacks": arm for arm in rehearsal.arms if arm.way == way}
        yield _picture(rehearsal, way, f"way-{number}", arms)


def _picture(rehearsal: Rehearsal, title: str, name: str, arms: dict[str, ArmOutcome]) -> Picture:
    lines = {label: [row.top1 for row in arm.rounds] for label, arm in arms.items()}
    return Picture(title, tuple(lines), draw_lines(name, lines, rehearsal.pretrained_curve_top1))
