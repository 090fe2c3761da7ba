"""A soak's report: JSON, a page of its own, tables in the terminal."""

from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.pages import render, write_both
from evaluation.soak.outcome import NAME, MemorySlope, SoakReport, decode_soak_report, encode_soak_report
from evaluation.soak.plots import draw_soak


def write_soak_report(report: SoakReport, folder: Path) -> tuple[Path, Path]:
    """Writes `soak.json` and a self-contained `soak.html`; returns both paths.

    Raises:
      InvalidSoakReport: a value is out of its bound; nothing is written then.

    """
    payload = encode_soak_report(report)
    return write_both(folder, NAME, payload=payload, page=render_soak_report(decode_soak_report(payload)))


def render_soak_report(report: SoakReport) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    return render(
        "soak.html",
        report=report,
        endings=endings(report),
        slopes=[(each.role, tell_slope(each)) for each in report.slopes],
        roles=list(dict.fromkeys(sample.role for sample in report.memory)),
        plots=draw_soak(report),
        seed=report.seed,
        software=report.software,
        json_name=f"{NAME}.json",
    )


def print_soak_report(report: SoakReport, console: Console) -> None:
    """Prints what was checked, what happened, and a sentence for each failure."""
    title = f"{report.devices} devices, {report.closed} of {len(report.rounds)} rounds closed, {report.database}"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in ("check", "holds", "found"):
        table.add_column(column)
    for check in report.checks:
        table.add_row(check.name, "no" if check.failures else "yes", check.found, style="bold" * bool(check.failures))
    console.print(table)
    happened = {**report.faults, **{f"{who} killed": times for who, times in report.kills.items()}}
    told = ", ".join(f"{what} {times} times" for what, times in happened.items()) or "nothing"
    console.print(f"{report.connections:,} connections; met: {told}.", highlight=False)
    for failure in report.failures:
        console.print(f"[bold red]Failed:[/] {failure}", highlight=False)


def endings(report: SoakReport) -> dict[str, int]:
    """How many rounds ended how."""
    return dict(Counter(each.because.replace("_", " ") or "closed" for each in report.rounds))


def tell_slope(slope: MemorySlope) -> str:
    """A slope as people read it.

    >>> tell_slope(MemorySlope(role="service", kb_per_round=12.34, low=-3.2, high=27.9, samples=40, processes=3))
    '+12 kB a round (95 %: −3 to +28)'
    """
    value, low, high = (f"{each:+.0f}".replace("-", "−") for each in (slope.kb_per_round, slope.low, slope.high))
    return f"{value} kB a round (95 %: {low} to {high})"
