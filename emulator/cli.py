"""`keychorus demo`: the main job; `keychorus emulate`: a fleet and its service, rehearsed by scenario."""

import os
import signal
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from emulator.engine import OpenEngine

_FOLDER = Path("reports/demo")
_NO_RAY = "--engine ray needs Ray, which is not installed here: ./requirements/setup.sh cluster ~/keychorus-cluster"


@click.command()
@click.option("--quick", is_flag=True, help="A tiny model and little text: about a minute.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Rounds to close.  [default: 20; with --quick 12]")
@click.option("--noise-multiplier", type=click.FloatRange(0, 1000), default=0.01, show_default=True,
              help="Noise on the sum, in units of the clipping norm; 0 switches it off.")  # fmt: skip
@click.option("--secure-aggregation/--plain-updates", default=True, show_default=True,
              help="Whether the service learns sums only, and no update.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, another split.")
@click.option("--workers", type=click.IntRange(1, 256), default=os.cpu_count, show_default="number of processors",
              help="Processes that train devices.")  # fmt: skip
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=_FOLDER, show_default=True,
              help="Takes the report and the release.")  # fmt: skip
def demo(
    *,
    quick: bool,
    rounds: int | None,
    noise_multiplier: float,
    secure_aggregation: bool,
    seed: int,
    workers: int,
    folder: Path,
) -> None:
    """The whole loop on real text, with a report at its end.

    Chat messages of some 600 people are split into donors, whose text counts as public, people with a device, and
    people who are held out. A model is pre-trained on the donors' text and then learns from the devices in federated
    rounds: the real service, the real device runtime, real HTTP. The report tells what that did
    for its predictions, what it cost, and what it protects.

    \b
    Examples:
      keychorus demo
      keychorus demo --quick --plain-updates
      keychorus demo --noise-multiplier 0 --folder reports/without-noise
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from rich.console import Console

    from emulator.demo.federation import TooFewRounds
    from emulator.demo.run import run_demo
    from emulator.demo.settings import full_demo, quick_demo
    from emulator.service_process import ServiceStopped
    from evaluation.report import print_summary

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the service and the workers are ended too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    console = Console()
    choose, default_rounds = (quick_demo, 12) if quick else (full_demo, 20)
    settings = choose(
        rounds=rounds or default_rounds, noise_multiplier=noise_multiplier, secure_aggregation=secure_aggregation
    )
    try:
        result = run_demo(settings, folder, seed=seed, num_workers=workers, console=console)
    except (ServiceStopped, TooFewRounds) as error:
        raise click.ClickException(str(error)) from None
    print_summary(result.report, console)
    console.print(f"\nThe report, with plots: [bold]{result.html_path}[/]\nThe same for programs:  {result.json_path}")
    console.print(
        f"\nType with the model just trained: [bold]keychorus device keyboard --release {result.release_folder}[/]"
    )


@click.group()
def emulate() -> None:
    """A fleet on a desk: rehearse a launch with the real device runtime and the real service, in virtual time."""


@emulate.command("list")
def list_scenarios() -> None:
    """The scenarios that are ready to run."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from emulator.scenarios.reading import ready_scenarios

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("scenario", "days", "devices", "about"):
        table.add_column(column, justify="right" if column in ("days", "devices") else "left")
    for name, scenario in ready_scenarios().items():
        table.add_row(name, f"{scenario.days:g}", str(scenario.devices), scenario.about)
    Console().print(table)


@emulate.command()
@click.argument("scenario")
@click.option("--devices", type=click.IntRange(1, 1_000_000), help="Instead of as many as the scenario says.")
@click.option("--days", type=click.FloatRange(0, 366, min_open=True), help="Instead of as long as the scenario says.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the scenario's.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), show_default="reports/SCENARIO",
              help="Takes the report, and while it lasts the world.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=os.cpu_count, show_default="number of processors",
              help="Processes that train devices.")  # fmt: skip
@click.option("--lanes", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Processes that speak to the service; with more, reports follow no seed.")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="Where devices train: on this machine, or on a Ray cluster; the report is the same.")  # fmt: skip
@click.option("--ray-address", metavar="HOST:PORT", help="Head of a cluster; without it, one is started here.")
@click.option("--real-time", is_flag=True, help="Live by the machine's clock: a week takes a week.")
def run(
    *,
    scenario: str,
    devices: int | None,
    days: float | None,
    seed: int | None,
    output: Path | None,
    workers: int,
    lanes: int,
    engine: str,
    ray_address: str | None,
    real_time: bool,
) -> None:
    """Live a SCENARIO: one of `keychorus emulate list`, or a TOML file of your own.

    It ends in report.html, report.json and timings.json. Ctrl-C stops it within 5 s, and the same command goes on from
    there. The same scenario, seed and software give the same report.json on the same machine, to the bit; what this
    machine took stands in timings.json alone. The world lies in --output while it lasts: in /dev/shm it is quicker.

    \b
    Examples:
      keychorus emulate run first-week
      keychorus emulate run third-drops-out --devices 200 --days 2 --seed 7 --output /dev/shm/third
      keychorus emulate run my-launch.toml --real-time
      keychorus emulate run first-week --engine ray --ray-address 192.0.2.7:6379
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from emulator.rehearsing.command import live_scenario

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the service and the workers are ended too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    changes = {"devices": devices, "days": days, "seed": seed}
    live_scenario(
        scenario,
        {key: value for key, value in changes.items() if value is not None},
        folder=output,
        num_workers=workers,
        lanes=lanes,
        real_time=real_time,
        open_engine=_engine(engine, ray_address),
    )


def _engine(name: str, ray_address: str | None) -> "OpenEngine":
    """What makes the engine of that name."""
    from emulator.engine import LocalEngine

    if name == "local":
        if ray_address is not None:
            raise click.UsageError("--ray-address needs --engine ray")
        return LocalEngine
    if find_spec("ray") is None:
        raise click.ClickException(_NO_RAY)
    from emulator.ray_engine import RayEngine

    return partial(RayEngine, address=ray_address)
