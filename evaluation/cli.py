"""The commands of this folder: `keychorus bench`."""

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
