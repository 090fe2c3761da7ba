"""`keychorus service status`: populations, rounds and privacy spent, in the terminal."""

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.shared import clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.summaries import PopulationSummary


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a population.")
def status(config_path: Path, as_json: bool) -> None:
    """Show populations, rounds and privacy spent.

    \b
    Example:
      keychorus service status --config /srv/keychorus/service.toml
    """
    with clear_errors():
        summaries = operations.summaries(load_config(config_path))
    if as_json:
        for summary in summaries:
            click.echo(msgspec.json.encode(summary))
        return
    console = Console()
    for summary in summaries:
        console.print(_table(summary))
    if not summaries:
        click.echo("there is no population yet; `keychorus service population add NAME` makes one")


def _table(summary: PopulationSummary) -> Table:
    model = "no model yet" if summary.model_version is None else f"model version {summary.model_version}"
    title = f"{summary.population}: {model}, {summary.devices} devices seen"
    caption = f"ε {_number(summary.epsilon)} at δ {summary.delta:g}; refused: {sum(summary.refusals.values())}"
    if summary.task_ended_because is not None:
        caption += f"; training has ended: {summary.task_ended_because.replace('_', ' ')}"
    if summary.groups:
        counts = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in summary.groups.items()]
        caption += f"; groups: {', '.join(counts)}"
    table = Table(title=title, caption=caption)
    for heading in ("round", "phase", "selected", "reported", "shortened", "MB up", "ε so far"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for entry in summary.rounds:
        num_devices = (entry.selected, entry.reported, entry.shortened)
        phase = entry.phase if entry.abandoned_because is None else f"{entry.phase} ({entry.abandoned_because})"
        table.add_row(
            str(entry.number), phase, *map(str, num_devices), f"{entry.bytes_up / 1e6:.1f}", _number(entry.epsilon)
        )
    return table


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"
