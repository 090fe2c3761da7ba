"""`keychorus emulate run`, behind its options: progress, and one sentence for what goes wrong."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from aggregation_service.operations import OperationError
from emulator.engine import LocalEngine, NoCluster, OpenEngine
from emulator.lying_service import LIES
from emulator.made_up import UnknownLanguage
from emulator.rehearsing.ground import NoPeople
from emulator.rehearsing.run import Lived, Options, run_scenario
from emulator.rehearsing.saved import OtherRehearsal
from emulator.scenarios.reading import InvalidScenario, check_files, find_scenario, load_scenario
from emulator.scenarios.schema import Scenario
from emulator.service_process import ServiceStopped
from emulator.traces.csv_file import CsvTraces, InvalidTraces
from emulator.traces.phone import NoPhone, PhoneTrace, require_phone
from evaluation.corpus import CorpusError
from evaluation.fleet.report import print_fleet_report

_TOLD = (
    InvalidScenario,
    InvalidTraces,
    CorpusError,
    NoCluster,
    NoPeople,
    NoPhone,
    UnknownLanguage,
    OtherRehearsal,
    OperationError,
    ServiceStopped,
)
_INTERRUPTED = 130


def live_scenario(
    named: str,
    changes: dict[str, Any],
    *,
    folder: Path | None,
    num_workers: int,
    lanes: int,
    real_time: bool,
    adb: tuple[str, ...] | None = None,
    open_engine: OpenEngine = LocalEngine,
) -> None:
    """Lives a scenario with a progress bar in virtual time, and prints what it came to.

    Args:
      named: a ready scenario, or a file.
      changes: values in place of the scenario's.
      folder: takes the report; None for one of the scenario's name in `reports`.
      num_workers: processes that train.
      lanes: processes that speak to the service.
      real_time: by the machine's clock.
      adb: the client, and its options, that finds the phone whose conditions count; None for made-up ones.
      open_engine: where devices compute.

    Raises:
      ClickException: the scenario, or what it names, is not usable; or the service ended.
      Exit: it was stopped.

    """
    console = Console()
    try:
        path = find_scenario(named)
        scenario = msgspec.structs.replace(load_scenario(path), **changes)
        phone = None if adb is None else PhoneTrace(adb=adb)
        options = Options(
            name=path.stem,
            folder=folder or Path("reports") / path.stem,
            num_workers=num_workers,
            lanes=lanes,
            real_time=real_time,
            phone=phone,
            open_engine=open_engine,
        )
        _check_ground(scenario, options, str(path))
        lived = _with_progress(scenario, options, console)
    except _TOLD as error:
        raise click.ClickException(str(error)) from None
    except (KeyboardInterrupt, SystemExit):
        console.print("Stopped. The same command goes on from here.")
        raise click.exceptions.Exit(_INTERRUPTED) from None
    print_fleet_report(lived.report, console)
    console.print(f"\nThe report, with plots: [bold]{lived.html_path}[/]\nThe same for programs:  {lived.json_path}")


def _check_ground(scenario: Scenario, options: Options, name: str) -> None:
    """Finds out before anything long begins whether what it needs is there."""
    check_files(scenario, name)
    lies = [event.do for event in scenario.events if event.do in LIES]
    if lies and not options.is_reproducible:
        raise InvalidScenario(f"{name}: events that do {lies[0]} must be lived in virtual time, with --lanes 1")
    if options.phone is not None:
        require_phone(options.phone.adb)
    elif scenario.traces.csv is not None:
        CsvTraces(Path(scenario.traces.csv), start=0.0)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"--output must be a folder, got {options.folder}: {error.strerror}") from None


def _with_progress(scenario: Scenario, options: Options, console: Console) -> Lived:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=36),
        TextColumn("day {task.completed:.2f} of {task.total:g}"),
        TextColumn("[dim]{task.fields[rounds]} rounds closed"),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task(options.name, total=scenario.days, rounds=0)
        return run_scenario(
            scenario, options, lambda days, rounds: bar.update(task, completed=min(days, scenario.days), rounds=rounds)
        )
