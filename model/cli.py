"""`keychorus model`: what a workstation makes for devices and services."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from model.network import NetworkShape
    from tokenizer.vocabulary import Vocabulary

_SHAPES = click.Choice(["full", "small"])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_vocabulary_option = click.option(
    "--vocabulary", type=_FILE, help="A vocabulary that has grown: the network has as many words as it."
)


@click.group()
def model() -> None:
    """Plans, training graphs and prediction models.

    \b
    Examples:
      keychorus model new english/
      keychorus model grow --model english/ --words words.tsv --output grown/
      keychorus model export-prediction-model checkpoint.safetensors prediction_model.tflite
    """


@model.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--size", type=_SHAPES, default="full", show_default=True, help="The network's size.")
@click.option("--language", default="en", show_default=True, help="Whose public word counts (wordfreq) to use.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first weights.")
@click.option("--report-goal", type=click.IntRange(1, 10_000_000), default=100, show_default=True,
              help="Reports that close a round.")  # fmt: skip
@click.option("--l2-clip-norm", type=click.FloatRange(0, 1_000, min_open=True), default=1.0, show_default=True,
              help="Bound on an update's L2 norm.")  # fmt: skip
@click.option("--noise-multiplier", type=click.FloatRange(0, 10_000), default=1.0, show_default=True,
              help="Noise on the sum, in units of the clipping norm.")  # fmt: skip
def new(
    *, folder: Path, size: str, language: str, seed: int, report_goal: int, l2_clip_norm: float, noise_multiplier: float
) -> None:
    """Write what a new task needs to FOLDER: plan, training graph, vocabulary, weights.

    The vocabulary is of public word counts. The weights are random but for the words' frequencies; hand
    `keychorus service task create` others where you have them. The plan is JSON, made to be edited before.
    """
    import msgspec

    from model import export, network, pretraining
    from protocol.plan import Plan, PrivacyParameters, TrainingParameters, encode_plan
    from protocol.weights import encode_checkpoint

    shape = {"full": network.FULL, "small": network.SMALL}[size]
    vocabulary = _public_vocabulary(language, shape.vocabulary_size)
    training = TrainingParameters(batch_size=16, sequence_length=12, local_epochs=1, learning_rate=0.5, max_words=5_000)
    privacy = PrivacyParameters(
        l2_clip_norm=l2_clip_norm,
        noise_multiplier=noise_multiplier,
        report_goal=report_goal,
        minimum_separation_s=24 * 3600.0,
    )
    plan = encode_plan(Plan(tensors=shape.tensors, training=training, privacy=privacy))
    weights = network.initial_weights(shape, seed, pretraining.unigram_bias(vocabulary))
    files = {
        "plan.json": msgspec.json.format(plan, indent=2),
        "training.tflite": export.export_training_graph(shape, batch_size=16, sequence_length=12),
        "vocabulary.model": vocabulary.model,
        "weights.safetensors": encode_checkpoint(weights),
    }
    _write_files(folder, files)


@model.command()
@click.option("--model", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder of the old task: plan.json, vocabulary.model, weights.safetensors.")  # fmt: skip
@click.option("--words", "words_path", type=_FILE, required=True, help="From `keychorus service words export`.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="The new folder.")
@click.option("--checkpoint", type=_FILE, help="Weights to begin from; without: those in the folder.")
def grow(*, folder: Path, words_path: Path, output: Path, checkpoint: Path | None) -> None:
    """Write what a new task needs whose vocabulary has grown by discovered words.

    Old words keep their ids; new ones begin as rare words do. Newly trained weights are got by `keychorus service task
    weights`.

    \b
    Examples:
      keychorus model grow --model english/ --words words.tsv --output grown/
      keychorus model grow --model english/ --words words.tsv --output grown/ --checkpoint newest.safetensors
    """
    import msgspec

    from model.grown_task import grow_task, read_words
    from protocol.errors import ProtocolError
    from protocol.plan import decode_plan, encode_plan
    from protocol.weights import decode_checkpoint, encode_checkpoint
    from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

    try:
        plan = decode_plan((folder / "plan.json").read_bytes())
        vocabulary = Vocabulary((folder / "vocabulary.model").read_bytes())
        weights = decode_checkpoint((checkpoint or folder / "weights.safetensors").read_bytes(), plan.tensors)
        grown = grow_task(plan, vocabulary, weights, read_words(words_path.read_bytes()))
    except (InvalidVocabulary, OSError, ProtocolError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    files = {
        "plan.json": msgspec.json.format(encode_plan(grown.plan), indent=2),
        "training.tflite": grown.graph,
        "vocabulary.model": grown.vocabulary.model,
        "weights.safetensors": encode_checkpoint(grown.weights),
    }
    _write_files(output, files)
    added, known = len(grown.vocabulary) - len(vocabulary), f"; {grown.num_known} were known" if grown.num_known else ""
    click.echo(f"{added} new words, {len(grown.vocabulary):,} ids{known}")


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        click.echo(f"{folder / name}: {len(content):,} bytes")


def _shape(size: str, vocabulary: Path | None) -> "NetworkShape":
    """A network of that size, for as many words as a vocabulary has where one is given."""
    from model import network
    from model.growing import grown_shape
    from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

    shape = {"full": network.FULL, "small": network.SMALL}[size]
    if vocabulary is None:
        return shape
    try:
        return grown_shape(shape, Vocabulary(vocabulary.read_bytes()))
    except (InvalidVocabulary, ValueError) as error:
        raise click.ClickException(f"{vocabulary}: {error}") from None


def _public_vocabulary(language: str, size: int) -> "Vocabulary":
    from model.public_words import public_vocabulary

    try:
        return public_vocabulary(language, size)
    except (LookupError, ValueError) as error:
        raise click.ClickException(f"no vocabulary of {size} words for language {language!r}: {error}") from None


@model.command("export-training-graph")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=_SHAPES, default="full", show_default=True, help="The network's size.")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=16, show_default=True, help="Sequences a step.")
@click.option("--sequence-length", type=click.IntRange(1, 1024), default=12, show_default=True, help="Words each.")
@_vocabulary_option
def export_training_graph(
    *, path: Path, size: str, batch_size: int, sequence_length: int, vocabulary: Path | None
) -> None:
    """Writes the graph that devices train with to PATH. It holds no weights."""
    from model import export

    shape = _shape(size, vocabulary)
    graph = export.export_training_graph(shape, batch_size=batch_size, sequence_length=sequence_length)
    path.write_bytes(graph)
    click.echo(f"{path}: {len(graph):,} bytes, for {shape.num_weights:,} weights")


@model.command("export-prediction-model")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=_SHAPES, default="full", show_default=True, help="The checkpoint's network.")
@_vocabulary_option
def export_prediction_model(checkpoint: Path, path: Path, size: str, vocabulary: Path | None) -> None:
    """Quantises CHECKPOINT (safetensors) to int8 and writes the model that devices suggest with to PATH."""
    from model import export
    from protocol.errors import WrongContent
    from protocol.weights import decode_checkpoint

    shape = _shape(size, vocabulary)
    try:
        weights = decode_checkpoint(checkpoint.read_bytes(), shape.tensors)
    except WrongContent as error:
        raise click.ClickException(f"{checkpoint}: {error}") from None
    prediction_model = export.export_prediction_model(weights)
    path.write_bytes(prediction_model)
    click.echo(f"{path}: {len(prediction_model):,} bytes")
