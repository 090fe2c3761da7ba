"""Reports: `report.json` for programs, `report.html` for people, a table for the terminal."""

from contextlib import suppress
from importlib import metadata
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.metrics import Accuracy
from evaluation.numbers import human_bytes, number, percent, small
from evaluation.pages import render, write_both
from evaluation.plots import PREDICTORS, draw_all
from evaluation.report_schema import ByPredictor, Report, decode_report, encode_report

_SOFTWARE = ("keychorus", "tensorflow", "tflite-runtime", "numpy", "sentencepiece", "dp-accounting", "flask")
GROUPS = {"held_out": "People who never trained", "devices": "Later messages of people who did"}


def software_versions() -> dict[str, str]:
    """Versions of what bears on a report's figures, as far as it is installed."""
    versions = {}
    for name in _SOFTWARE:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Writes `report.json` and a self-contained `report.html` into `folder`, which is made if it is missing.

    Returns:
      The two paths.

    Raises:
      InvalidReport: a value is out of its bound; nothing is written then.

    """
    payload = encode_report(report)
    page = render_page(decode_report(payload))  # what the page says is what the file says
    return write_both(folder, "report", payload=payload, page=page)


def render_page(report: Report) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    return render(
        "demo_report.html",
        report=report,
        plots=draw_all(report),
        predictors=PREDICTORS,
        groups=GROUPS,
        seed=report.seed,
        software=report.software,
        json_name="report.json",
    )


def print_summary(report: Report, console: Console) -> None:
    """Prints accuracy, privacy and cost as tables."""
    for group, title in GROUPS.items():
        console.print(_accuracy_table(title, getattr(report.accuracy, group)))
    console.print(_cost_table(report))
    console.print(report.privacy.statement, style="dim", highlight=False)


def _accuracy_table(title: str, accuracies: ByPredictor) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("predictor")
    for column in ("first suggestion", "three suggestions", "keystrokes saved", "perplexity"):
        table.add_column(column, justify="right")
    for name, label in PREDICTORS.items():
        accuracy: Accuracy = getattr(accuracies, name)
        shares = (accuracy.top1, accuracy.top3, accuracy.keystroke_savings)
        table.add_row(
            label,
            *map(percent, shares),
            number(accuracy.perplexity),
            style="bold" if name == "federated" else None,
        )
    return table


def _cost_table(report: Report) -> Table:
    table = Table(title="Price", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_header=False)
    privacy, scale = report.privacy, report.privacy.at_scale
    table.add_row("rounds", f"{len(report.rounds)} with {report.fleet.devices} devices")
    table.add_row("ε", f"{number(privacy.epsilon)} at δ = {small(privacy.delta)}, {privacy.mechanism}")
    table.add_row(
        "ε at scale", f"{number(scale.epsilon)} with {scale.cohort:,} of {scale.population:,} devices a round"
    )
    up, down = report.bytes.up_per_device_round, report.bytes.down_per_device_round
    table.add_row("a device and round", f"{human_bytes(up)} up, {human_bytes(down)} down")
    table.add_row("wall time", f"{sum(report.seconds.values()):.0f} s")
    return table
