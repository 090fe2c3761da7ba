"""`keychorus emulate soak`, behind its options: progress, a table, and one sentence for whatever did not hold."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from aggregation_service.operations import OperationError
from aggregation_service.storage.database import OutdatedDatabase, UnsupportedDatabase
from emulator.service_process import ServiceStopped
from emulator.soaking.databases import CannotRun
from emulator.soaking.run import Soaked, run_soak
from emulator.soaking.settings import SoakSettings
from evaluation.soak.report import print_soak_report

_TOLD = (CannotRun, OperationError, OutdatedDatabase, ServiceStopped, UnsupportedDatabase)
_FAILED, _INTERRUPTED = 1, 130


def soak_with_progress(settings: SoakSettings, folder: Path, *, num_workers: int) -> None:
    """Soaks with a progress bar in closed rounds, and prints what was found.

    Raises:
      ClickException: the soak could not be run to its end.
      Exit: 1 if a check failed, 130 if it was stopped.

    """
    console = Console()
    try:
        soaked = _with_progress(settings, folder, num_workers, console)
    except _TOLD as error:
        raise click.ClickException(str(error)) from None
    except (KeyboardInterrupt, SystemExit):
        console.print("Stopped. A soak does not go on: the next one begins anew.")
        raise click.exceptions.Exit(_INTERRUPTED) from None
    print_soak_report(soaked.report, console)
    console.print(f"\nThe report, with plots: [bold]{soaked.html_path}[/]\nThe same for programs:  {soaked.json_path}")
    if soaked.report.failures:
        raise click.exceptions.Exit(_FAILED)


def _with_progress(settings: SoakSettings, folder: Path, num_workers: int, console: Console) -> Soaked:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=36),
        MofNCompleteColumn(),
        TextColumn("rounds closed [dim]{task.fields[told]}"),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("soak", total=settings.rounds, told="")

        def progress(closed: int, ended: int, kills: int) -> None:
            told = f"{ended - closed} abandoned, {kills} kills"
            bar.update(task, completed=min(closed, settings.rounds), told=told)

        return run_soak(settings, folder, num_workers=num_workers, progress=progress)
