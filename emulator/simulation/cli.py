"""`keychorus simulate`: sweeps by TensorFlow Federated."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from emulator.simulation.settings import RunSettings
    from evaluation.corpus import Message
    from evaluation.rehearsal.ground import Ground
    from evaluation.rehearsal.people import People
    from evaluation.rehearsal.settings import RehearsalSettings

_ABSENT = "TensorFlow Federated is not installed: ./requirements/setup.sh simulation ~/keychorus-simulation"


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers between commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Reads `0.3,0.5,1`."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"must be numbers between commas, got {value!r}", param, ctx)


class Names(click.ParamType[tuple[str, ...]]):
    """Some of a few names, between commas."""

    name = "names"

    def __init__(self, *names: str):
        self.names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """As the help shows it."""
        return f"[{'|'.join(self.names)}],.."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Reads `gaussian,tree`."""
        chosen = value if isinstance(value, tuple) else tuple(value.split(","))
        if strangers := sorted(set(chosen) - set(self.names)):
            self.fail(f"must be of {', '.join(self.names)}, got {', '.join(strangers)}", param, ctx)
        return chosen


@click.command()
@click.option("--learning-rate", "learning_rates", type=Numbers(), help="Of the devices.  [default: the preset's]")
@click.option("--server-optimizer", "server_optimizers", type=Names("average", "momentum", "adam"),
              default="momentum", show_default=True)  # fmt: skip
@click.option("--server-learning-rate", "server_learning_rates", type=Numbers(),
              help="[default: 1 for average and momentum, 0.01 for adam]")  # fmt: skip
@click.option("--clip", "clip_norms", type=Numbers(), help="L2 norm of an update.  [default: the preset's]")
@click.option("--aggregator", "aggregators", type=Names("mean", "gaussian", "tree"), default="mean", show_default=True,
              help="No noise; fresh noise each round; noise of a binary tree (DP-FTRL).")  # fmt: skip
@click.option("--noise-multiplier", "noise_multipliers", type=Numbers(), default="0", show_default=True,
              help="Deviation on a sum, or on a tree's node, in units of the clip; for gaussian and tree.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100_000), default=26, show_default=True, help="Of each run.")
@click.option("--cohort", type=click.IntRange(5, 100_000), default=20, show_default=True, help="Devices of a round.")
@click.option("--corpus", default="chitchat", show_default=True, metavar="chitchat|FILE",
              help='JSON lines of {"user", "sent_at", "text"}, also .gz.')  # fmt: skip
@click.option("--preset", type=click.Choice(["small", "full"]), default="small", show_default=True,
              help="Network and plan.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of people, weights, cohorts.")
@click.option("--workers", type=click.IntRange(1, 256), default=os.cpu_count, show_default="number of processors",
              help="Devices that train at the same time.")  # fmt: skip
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("reports/simulation"),
              show_default=True, help="Folder of the report, and of finished runs.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def simulate(*, preset: str, corpus: str, seed: int, workers: int, output: Path, as_json: bool, **choices: Any) -> None:
    """Sweeps by TensorFlow Federated, where no devices are needed.

    Options that take several values run every combination: the same model, plan, people and cohorts, from the same
    first weights. The table at the end tells top-1 recall and loss on people who never train. What finished stays in
    the output folder: the same command goes on where it was interrupted, and another one reuses what it shares.

    Needs an environment of its own: ./requirements/setup.sh simulation ~/keychorus-simulation

    \b
    Examples (in ~/keychorus-simulation/bin):
      keychorus simulate --learning-rate 0.3,0.5,1 --server-learning-rate 0.5,1
      keychorus simulate --clip 0.5,1,2 --server-optimizer momentum,adam
      keychorus simulate --aggregator mean,gaussian,tree --noise-multiplier 0.01,0.1
      keychorus simulate --preset full --corpus chats.jsonl.gz --cohort 64 --rounds 100
    """
    if find_spec("tensorflow_federated") is None:
        raise click.ClickException(_ABSENT)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from rich.console import Console

    from emulator.simulation.outcome import write_sweep
    from emulator.simulation.report import print_sweep
    from emulator.simulation.sweep import run_sweep
    from evaluation.bench.runner import progress

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that TFF's worker is ended too
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True)
    settings, people, runs = _choose(preset, corpus, seed, choices)
    sweep = run_sweep(
        *(preset, _ground(settings, people, output, console), runs),
        folder=output,
        num_threads=workers,
        bar=lambda title, total: progress(title, total, console),
    )
    path = write_sweep(sweep, output)
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        print_sweep(sweep, Console())
        click.echo(path)


def _choose(
    preset: str, corpus: str, seed: int, choices: dict[str, Any]
) -> "tuple[RehearsalSettings, People, list[RunSettings]]":
    """What all runs share, who takes part, and the runs; a choice that was left out is the preset's."""
    from emulator.simulation.settings import sweep_runs
    from evaluation.rehearsal.people import draw_cohorts, gather_people
    from evaluation.rehearsal.settings import full_size, small_size

    preset_of = {"small": small_size, "full": full_size}[preset]
    settings = preset_of(seed=seed)
    defaults: dict[str, Any] = {
        "learning_rates": (settings.training.learning_rate,),
        "clip_norms": (settings.l2_clip_norm,),
        "server_learning_rates": (None,),
    }
    given = {name: value for name, value in choices.items() if value is not None}
    try:
        runs = sweep_runs(seed=seed, **(defaults | given))
        people = gather_people(_messages(corpus), settings)
        cohort = preset_of(seed=seed, rounds=1, cohort=choices["cohort"])
        draw_cohorts(list(people.training), cohort)  # refuses a cohort larger than the population
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return settings, people, runs


def _ground(settings: "RehearsalSettings", people: "People", folder: Path, console: "Console") -> "Ground":
    """People, vocabulary and first weights, as all rehearsals begin from."""
    from evaluation.bench.runner import progress
    from evaluation.rehearsal.ground import count_pretraining, lay_ground

    with progress("pre-training", count_pretraining(settings, people), console) as on_step:
        return lay_ground(settings, people, folder, on_step)


def _messages(corpus: str) -> "list[Message]":
    from evaluation.corpus import CorpusError, load_chitchat, load_jsonl

    try:
        return load_chitchat() if corpus == "chitchat" else load_jsonl(Path(corpus))
    except CorpusError as error:
        raise click.ClickException(str(error)) from None
