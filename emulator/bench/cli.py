"""`keychorus bench`, with the benchmark that needs a fleet."""

import os
import signal
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from evaluation.cli import bench

__all__ = ["bench"]

_python = click.Path(exists=True, dir_okay=False, path_type=Path)


@bench.command()
@click.option("--devices", type=click.IntRange(1, 10_000), default=64, show_default=True, help="Of the cohort.")
@click.option("--words", type=click.IntRange(20, 100_000), default=1600, show_default=True, help="On each device.")
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True,
              help="Devices that train at the same time, on every side.")  # fmt: skip
@click.option("--runtime", type=click.Choice(["tflite_runtime", "ai_edge_litert"]), default="ai_edge_litert",
              show_default=True, help="TFLite runtime of our devices.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(2, 1000), default=3, show_default=True, help="Rounds that count.")
@click.option("--tff-python", type=_python,
              help="Python of a simulation role; without it, one is made from its lock and kept.")  # fmt: skip
@click.option("--flower-python", type=_python,
              help="Python with flwr, ray, tensorflow; without it, one is made from its lock and kept.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fleet(
    *,
    devices: int,
    words: int,
    size: str,
    workers: int,
    runtime: str,
    repeats: int,
    tff_python: Path | None,
    flower_python: Path | None,
    as_json: bool,
) -> None:
    """Devices trained a minute, against the simulations of TensorFlow Federated and Flower.

    The same local work on the same cores, in turn. Ours are emulated devices with the real runtime: typing log on disk,
    agent, TFLite, HTTP to the real service. The world lies in the folder for temporary files: TMPDIR names another.

    \b
    Examples:
      keychorus bench fleet
      keychorus bench fleet --devices 16 --repeats 2 --json
      keychorus bench fleet --tff-python ~/keychorus-simulation/bin/python
    """
    from emulator.bench.fleet import DifferentWork, print_figures, run
    from emulator.bench.local_work import Setting
    from emulator.bench.side import SideFailed

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that all sides are ended too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = {"simulation": tff_python, "flower-simulation": flower_python}
    setting = Setting(devices=devices, words=words, size=size, workers=workers, runtime=runtime)
    try:
        figures = run(
            setting,
            repeats=repeats,
            pythons={lock: python for lock, python in given.items() if python is not None},
            console=Console(stderr=True),
        )
    except (DifferentWork, SideFailed) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        print_figures(figures, Console())
