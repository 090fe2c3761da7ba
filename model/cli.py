"""`keychorus model`: what a workstation makes for devices and services."""

from pathlib import Path

import click

_SHAPES = click.Choice(["full", "small"])


@click.group()
def model() -> None:
    r"""Training graphs and prediction models.

    \b
    Example:
      keychorus model export-training-graph training.tflite
      keychorus model export-prediction-model checkpoint.safetensors prediction_model.tflite
    """


@model.command("export-training-graph")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=_SHAPES, default="full", show_default=True, help="The network's size.")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=16, show_default=True, help="Sequences a step.")
@click.option("--sequence-length", type=click.IntRange(1, 1024), default=12, show_default=True, help="Words each.")
def export_training_graph(path: Path, size: str, batch_size: int, sequence_length: int) -> None:
    """Writes the graph that devices train with to PATH. It holds no weights."""
    from model import export, network

    shape = {"full": network.FULL, "small": network.SMALL}[size]
    graph = export.export_training_graph(shape, batch_size=batch_size, sequence_length=sequence_length)
    path.write_bytes(graph)
    click.echo(f"{path}: {len(graph):,} bytes, for {shape.num_weights:,} weights")


@model.command("export-prediction-model")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=_SHAPES, default="full", show_default=True, help="The checkpoint's network.")
def export_prediction_model(checkpoint: Path, path: Path, size: str) -> None:
    """Quantises CHECKPOINT (safetensors) to int8 and writes the model that devices suggest with to PATH."""
    from model import export, network
    from protocol.errors import WrongContent
    from protocol.weights import decode_checkpoint

    shape = {"full": network.FULL, "small": network.SMALL}[size]
    try:
        weights = decode_checkpoint(checkpoint.read_bytes(), shape.tensors)
    except WrongContent as error:
        raise click.ClickException(f"{checkpoint}: {error}") from None
    prediction_model = export.export_prediction_model(weights)
    path.write_bytes(prediction_model)
    click.echo(f"{path}: {len(prediction_model):,} bytes")
