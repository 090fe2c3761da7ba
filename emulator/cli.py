"""`keychorus demo`: the main job; `keychorus emulate`: a fleet and its service, rehearsed by scenario, or soaked."""

import os
import signal
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
@click.option("--adb", is_flag=True,
              help="All devices are idle, charging and so on when a running Android emulator or attached phone is; "
              "needs --real-time.")  # fmt: skip
@click.option("--serial", help="Which phone, of several that `adb devices` lists.")
@click.option("--adb-path", default="adb", show_default=True, help="The adb to ask with.")
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
    adb: bool,
    serial: str | None,
    adb_path: str,
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
      keychorus emulate run my-launch.toml --real-time --adb --serial emulator-5554
      keychorus emulate run first-week --engine ray --ray-address 192.0.2.7:6379
    """
    if adb and not real_time:
        raise click.UsageError("--adb must come with --real-time, for a phone's conditions are those of now")
    if serial is not None and not adb:
        raise click.UsageError("--serial must come with --adb")
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
        adb=(adb_path, *(() if serial is None else ("-s", serial))) if adb else None,
        open_engine=_engine(engine, ray_address),
    )


@emulate.command()
@click.option("--devices", type=click.IntRange(8, 100_000), default=1000, show_default=True, help="In the fleet.")
@click.option("--rounds", type=click.IntRange(1, 10_000), default=200, show_default=True, help="To close.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True,
              help="Of faults and kills.")  # fmt: skip
@click.option("--database", default="sqlite", show_default=True, metavar="sqlite|postgresql|URL",
              help="postgresql starts a server of its own and kills it, too; a URL names an empty database, and its "
              "server is left alone.")  # fmt: skip
@click.option("--size", type=click.Choice(["small", "full"]), default="small", show_default=True,
              help="Of the network; full is Gboard's.")  # fmt: skip
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("reports/soak"),
              show_default=True, help="Takes the report, and while it lasts the world.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=os.cpu_count, show_default="number of processors",
              help="Processes that train devices.")  # fmt: skip
def soak(
    *, devices: int, rounds: int, seed: int, database: str, size: Literal["small", "full"], output: Path, workers: int
) -> None:
    """Soak the service: many rounds, while connections are cut and processes are killed at random.

    The service runs as an operator runs it, with two workers. Between it and the devices is a network that refuses,
    cuts and slows connections; workers, whoever coordinates, the whole service and a PostgreSQL of the soak's own are
    killed by kill -9. After each round, and at the end, the service's books are compared with what the devices know: no
    acknowledged update may be lost or counted twice, no device may be stuck, the ledger must hold what was released,
    memory must be flat. It ends in soak.html and soak.json, and with exit code 1 and a sentence for whatever did not
    hold. Ctrl-C ends it within 5 s; a soak does not go on later.

    \b
    Examples:
      keychorus emulate soak --devices 100 --rounds 30 --output /dev/shm/soak
      keychorus emulate soak --devices 1000 --rounds 200 --seed 7 --database postgresql
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from emulator.soaking.command import soak_with_progress
    from emulator.soaking.settings import SoakSettings

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the service and the workers are ended too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        settings = SoakSettings(devices=devices, rounds=rounds, seed=seed, size=size, database=database)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--database") from None
    soak_with_progress(settings, output, num_workers=workers)


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
