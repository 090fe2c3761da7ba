"""A fleet's report: JSON, a page of its own, tables in the terminal; and beside them what this machine took."""

from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.fleet.outcome import FleetReport, Timings, decode_fleet_report, encode_fleet_report
from evaluation.fleet.plots import draw_fleet
from evaluation.numbers import human_bytes, number, percent, small
from evaluation.pages import render, write_both

NAME = "report"
TIMINGS_FILE = "timings.json"


def write_fleet_report(report: FleetReport, timings: Timings, folder: Path) -> tuple[Path, Path]:
    """Writes `report.json`, a self-contained `report.html` and `timings.json`; returns the first two paths.

    Raises:
      InvalidFleetReport: a value is out of its bound; nothing is written then.

    """
    payload = encode_fleet_report(report)
    page = render_fleet_report(decode_fleet_report(payload))
    paths = write_both(folder, NAME, payload=payload, page=page)
    (folder / TIMINGS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(timings), indent=2) + b"\n")
    return paths


def render_fleet_report(report: FleetReport) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    closed = [each for each in report.rounds if each.phase == "closed"]
    return render(
        "fleet.html",
        report=report,
        closed=len(closed),
        durations=_quartiles([each.duration_h for each in closed if each.duration_h is not None]),
        plots=draw_fleet(report),
        seed=report.seed,
        software=report.software,
        json_name=f"{NAME}.json",
    )


def print_fleet_report(report: FleetReport, console: Console) -> None:
    """Prints what each population came to, and what was lost on the way."""
    table = Table(
        title=f"{report.scenario}: {report.about}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    table.add_column("population")
    for column in ("devices", "rounds", "recall before", "after", "ε", "reports of one device"):
        table.add_column(column, justify="right")
    for each in report.populations:
        mine = [one for one in report.rounds if one.population == each.name]
        closed = sum(one.phase == "closed" for one in mine)
        table.add_row(
            each.name,
            str(each.devices),
            f"{closed} of {len(mine)}",
            percent(each.top1_before),
            percent(each.top1_after),
            f"{number(each.epsilon)} at δ = {small(each.delta)}",
            f"≤ {each.max_participations}",
        )
    console.print(table)
    lost = sum(each.devices for each in report.drop_outs)
    traffic = report.traffic
    console.print(
        f"{report.events.get('selected', 0)} times a device was selected, {lost} times it was lost; "
        f"{human_bytes(traffic.bytes_up)} up, {human_bytes(traffic.bytes_down)} down, "
        f"{traffic.training_device_s / 3600:.1f} h of devices' processors.",
        highlight=False,
    )


def _quartiles(values: list[float]) -> tuple[float, float, float] | None:
    """The quarter, the half and the three quarters point of `values`; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    quarter, half, most = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    return quarter, half, most
