"""The commands of this folder: `keychorus bench`."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console


@click.group()
def bench() -> None:
    """Measure ours and a reference in the same run, in turn.

    Every benchmark repeats its measurements and gives medians, their spread and the ratio of the two medians. With
    --json it prints one object with at least name, value, unit, reference and ratio.
    """


@bench.command("train-step")
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network.")
@click.option("--repeats", type=click.IntRange(2, 10_000), default=20, show_default=True, help="Turns that count.")
@click.option(
    "--runtime",
    type=click.Choice(["tflite_runtime", "ai_edge_litert"]),
    help="TFLite runtime; without it, the one that is installed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_step(size: str, repeats: int, runtime: str | None, as_json: bool) -> None:
    """A training step in TFLite against TensorFlow's GradientTape.

    Batch of 16 sequences of 12 words, one thread each; ours includes copying all weights in and out.
    """
    from evaluation.bench import runner
    from evaluation.bench.train_step import SIZES, Setting, run

    progress = Console(stderr=True)
    result = run(Setting(shape=SIZES[size]), repeats=repeats, runtime=runtime, console=progress)
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        runner.print_result(result, Console())


@bench.command()
@click.option(
    "--release",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a release; without it, one of full size with random weights is made.",
)
@click.option("--repeats", type=click.IntRange(2, 10_000), default=20, show_default=True, help="Turns that count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def suggest(release: Path | None, repeats: int, as_json: bool) -> None:
    """A keystroke's suggestions, personalisation included, and the memory of the process that makes them.

    The figure is the 99th percentile, one thread. The reference reads the message from its beginning at each keystroke.
    """
    from evaluation.bench import runner
    from evaluation.bench.suggest import Setting, run

    result = run(Setting(release=release), repeats=repeats, console=Console(stderr=True))
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        runner.print_result(result, Console())


_workers = click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="gunicorn's.")
_database_url = click.option(
    "--database-url", help="An empty PostgreSQL database, as postgresql://USER@HOST/NAME; without it, SQLite."
)


@bench.command()
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network.")
@click.option("--repeats", type=click.IntRange(2, 1000), default=5, show_default=True, help="Rounds that count.")
@click.option("--reports", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Of a round.")
@click.option("--connections", type=click.IntRange(1, 256), default=24, show_default=True, help="At the same time.")
@click.option(
    "--format",
    "update_format",
    type=click.Choice(["int16", "float32"]),
    default="int16",
    show_default=True,
    help="Of the updates.",
)
@_workers
@_database_url
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ingest(size: str, repeats: int, as_json: bool, **choices: Any) -> None:
    """Updates that the real service accepts and sums, against numpy adding up the same bytes.

    Real HTTP from enrolled devices that sign. Fails if a round's model is not exactly the sum of its reports.

    Example: keychorus bench ingest --repeats 5 --reports 300
    """
    from evaluation.bench import runner
    from evaluation.bench.ingest import Setting, run
    from evaluation.bench.train_step import SIZES

    result = run(Setting(shape=SIZES[size], **choices), repeats=repeats, console=Console(stderr=True))
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        runner.print_result(result, Console())


@bench.command("secure-aggregation")
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network.")
@click.option("--repeats", type=click.IntRange(2, 1000), default=5, show_default=True, help="Turns that count.")
@click.option(
    "--large-repeats", type=click.IntRange(1, 100), default=3, show_default=True, help="Sessions of 1,000 members."
)
@click.option(
    "--flower-python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python of an environment with flwr; without it, one is made from requirements/flower.txt and kept.",
)
@click.option(
    "--curve",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder; also measure groups of 32 to 4,096 members, and write table and picture there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def secure_aggregation(
    size: str, flower_python: Path | None, curve: Path | None, as_json: bool, **repeats: int
) -> None:
    """Secure aggregation: what it costs a device, and the service against that of Flower's SecAgg+.

    CPU seconds of processes with one thread. Fails if a session's sum is not that of its members' updates.

    Example: keychorus bench secure-aggregation --repeats 5 --curve docs/images
    """
    from evaluation.bench.secure_aggregation import Choices, print_figures, run
    from evaluation.bench.secure_curve import SIZES as GROUP_SIZES
    from evaluation.bench.secure_curve import save_curve
    from evaluation.bench.train_step import SIZES

    choices = Choices(
        vector_length=SIZES[size].num_weights,
        curve_sizes=GROUP_SIZES if curve else (),
        **repeats,
    )
    figures = run(choices, flower=flower_python, console=Console(stderr=True))
    if curve:
        save_curve(figures.curve, curve)
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        print_figures(figures, Console())


@bench.command("check-ins")
@click.option("--devices", type=click.IntRange(1, 1_000_000), default=5000, show_default=True, help="That wait.")
@click.option("--seconds", type=click.FloatRange(1), default=120.0, show_default=True, help="Of polling.")
@click.option("--report-goal", type=click.IntRange(1), default=300, show_default=True, help="Of a round.")
@click.option(
    "--beat-s", type=click.FloatRange(1), default=60.0, show_default=True, help="How often a round may begin."
)
@click.option(
    "--calls-per-second", type=click.FloatRange(0, min_open=True), help="Call at this even pace, not as steered."
)
@_workers
@_database_url
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_ins(as_json: bool, **choices: Any) -> None:
    """Check-ins of thousands of waiting devices, in real time, at the pace that the service steers them to.

    The figure is the 99th percentile, from the instant at which a call was due. Up to ten devices for each place in a
    cohort (report goal times 1.3) are gathered in a tenth of a beat; more are spread.

    Example: keychorus bench check-ins --devices 5000 --calls-per-second 100 --seconds 60
    """
    from evaluation.bench.check_ins import Setting, print_latencies, run

    result = run(Setting(**choices), console=Console(stderr=True))
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        print_latencies(result, Console())


@bench.command()
@click.option(
    "--release",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("reports/demo/release"),
    show_default=True,
    help="Folder of the release to suggest with.",
)
@click.option("--people", type=click.IntRange(min=1), default=40, show_default=True, help="Held-out people, at most.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the split; the demo's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def personalisation(folder: Path, people: int, seed: int, as_json: bool) -> None:
    """What personalisation does for held-out people, against the shared model alone.

    The first four fifths of each person's messages are their log, the last fifth is typed key by key.
    """
    from device_runtime.releases.release import PUBLIC_KEY_FILE, open_release, read_public_key
    from evaluation.bench.runner import progress
    from evaluation.corpus import clean, load_chitchat
    from evaluation.personalisation import measure, print_help
    from evaluation.split import split_senders

    release = open_release(folder, read_public_key(folder / PUBLIC_KEY_FILE))
    kept = clean(load_chitchat()).messages
    chosen = split_senders(kept, seed=seed).held_out[:people]
    with progress("personalisation", len(chosen), Console(stderr=True)) as on_person:
        result = measure(release, {name: kept[name] for name in chosen}, on_person=on_person)
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        print_help(result, Console())
