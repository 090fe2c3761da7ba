"""`keychorus experiment`: which settings predict best, told on text of one's own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from aggregation_service.rounds.optimizer import ServerOptimizer
    from evaluation.experiments.settings import Noise

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _folder_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("reports/experiments"),
        show_default=True,
        help="Of the experiments.",
    )(command)


@click.group()
def experiment() -> None:
    """Train centrally and by federated rounds in one process, and compare.

    All experiments of a folder share text and vocabulary. They are judged by later messages of the people who trained;
    people who are held out are left to `keychorus evaluate`, once settings are chosen. Interrupted, the same command
    goes on where it was.

    \b
    Examples:
      keychorus experiment begin --population chat.jsonl.gz --public irc.jsonl.gz
      keychorus experiment central first --text public --epochs 4
      keychorus experiment federated fed --start first --rounds 200 --cohort 64
      keychorus experiment list
      keychorus experiment release fed
    """


@experiment.command()
@_folder_option
@click.option("--population", default="chitchat", show_default=True,
              help="Corpus of people who train: chitchat, or a file of JSON lines.")  # fmt: skip
@click.option("--public", type=_FILE, multiple=True, help="JSON lines of public text; may be given again.")
@click.option("--size", type=click.Choice(["full", "small"]), default="full", show_default=True, help="Network.")
@click.option("--min-messages", type=click.IntRange(2), default=20, show_default=True, help="Of a person.")
@click.option("--max-messages", type=click.IntRange(0), default=200, show_default=True, help="Of a person; 0: all.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of who is held out.")
def begin(*, folder: Path, population: str, public: tuple[Path, ...], **choices: Any) -> None:
    """Fix the text of a folder of experiments, and train their vocabulary."""
    from evaluation.corpus import CHITCHAT, CorpusError
    from evaluation.experiments.book import Book, BookError
    from evaluation.experiments.settings import TextSettings
    from evaluation.experiments.texts import make_vocabulary, read_texts

    text = TextSettings(
        population=population if population == CHITCHAT else str(Path(population).resolve()),
        public=tuple(str(path.resolve()) for path in public),
        **choices,
    )
    try:
        texts = read_texts(text)
        Book.begin(folder, text, make_vocabulary(texts, text.shape.vocabulary_size))
    except (BookError, CorpusError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    messages = sum(map(len, texts.training.values()))
    click.echo(
        f"{len(texts.training):,} people train on {messages:,} messages, {len(texts.held_out):,} are held out, "
        f"{len(texts.public):,} messages are public"
    )


@experiment.command()
@click.argument("name")
@_folder_option
@click.option("--text", type=click.Choice(["pooled", "public", "population"]), default="pooled", show_default=True,
              help="To train on: public, the population's, or both.")  # fmt: skip
@click.option("--start", help="Experiment whose weights to start from.  [default: random weights]")
@click.option("--epochs", type=click.IntRange(1, 1000), default=4, show_default=True, help="Passes over the text.")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=24, show_default=True,
              help="Sequences of 40 words a step.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, 1, min_open=True), default=2e-3, show_default=True,
              help="Adam's, at first.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of weights and order.")
def central(*, name: str, folder: Path, **choices: Any) -> None:
    """Train NAME on pooled text.

    Example: keychorus experiment central pooled --text pooled --epochs 4
    """
    from evaluation.experiments.running import run_central
    from evaluation.experiments.settings import Central

    _run(folder, lambda book, texts, bar: run_central(book, name, Central(**choices), texts, bar))


@experiment.command()
@click.argument("name")
@_folder_option
@click.option("--start", required=True, help="Experiment whose weights to start from.")
@click.option("--rounds", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many.")
@click.option("--cohort", type=click.IntRange(1, 100_000), default=64, show_default=True, help="Devices of a round.")
@click.option("--public-devices", type=click.IntRange(0, 100_000), default=0, show_default=True,
              help="Of the operator's own, over public text, in each round.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, 100, min_open=True), default=0.5, show_default=True,
              help="Of each device.")  # fmt: skip
@click.option("--local-epochs", type=click.IntRange(1, 20), default=1, show_default=True, help="Of each device.")
@click.option("--batch-size", type=click.IntRange(1, 1024), default=16, show_default=True, help="Sequences a step.")
@click.option("--sequence-length", type=click.IntRange(1, 1024), default=20, show_default=True, help="Words each.")
@click.option("--max-words", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Of a device.")
@click.option("--clip", "l2_clip_norm", type=click.FloatRange(0, 1000, min_open=True), default=2.0, show_default=True,
              help="Clipping norm.")  # fmt: skip
@click.option("--server", type=click.Choice(["average", "momentum", "adam"]), default="momentum", show_default=True,
              help="Optimiser.")  # fmt: skip
@click.option("--server-learning-rate", type=click.FloatRange(0, 1000, min_open=True),
              help="[default: 1, or 0.01 for adam]")  # fmt: skip
@click.option("--averaged", type=click.IntRange(1, 1000), default=8, show_default=True, help="Newest checkpoints.")
@click.option("--epsilon", type=click.FloatRange(0, 1000, min_open=True), help="Noise as for this promise.")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True), default=1e-10, show_default=True, help="With it.")
@click.option("--devices", type=click.IntRange(1), default=10_000_000, show_default=True, help="In production.")
@click.option("--production-cohort", type=click.IntRange(1), default=6_500, show_default=True, help="Likewise.")
@click.option("--production-rounds", type=click.IntRange(1), default=2_000, show_default=True, help="Likewise.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of cohorts.")
@click.option("--workers", type=click.IntRange(0, 256), default=os.cpu_count, show_default="number of processors",
              help="Processes that train; 0 trains in this one.")  # fmt: skip
def federated(*, name: str, folder: Path, workers: int, **choices: Any) -> None:
    """Train NAME by federated rounds, each person of the population being a device.

    With --epsilon the rounds have the noise of a deployment that promises it, buffered linear Toeplitz, scaled to the
    cohort here: the average has the noise that the deployment's would have.

    \b
    Examples:
      keychorus experiment federated fed --start public --rounds 300
      keychorus experiment federated private --start public --rounds 300 --epsilon 1
    """
    from evaluation.experiments.running import run_federated
    from evaluation.experiments.settings import Federated
    from protocol.plan import TrainingParameters

    production = {key: choices.pop(key) for key in _OF_PRODUCTION}
    local = {key: choices.pop(key) for key in TrainingParameters.__struct_fields__}
    optimizer = _optimizer(choices.pop("server"), choices.pop("server_learning_rate"))
    try:
        noise = _noise(production, choices["l2_clip_norm"])
        training = Federated(training=TrainingParameters(**local), optimizer=optimizer, noise=noise, **choices)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if noise is not None:
        scaled = noise.noise_multiplier * training.cohort / noise.cohort
        click.echo(
            f"noise multiplier {noise.noise_multiplier:g} for cohorts of {noise.cohort:,}, "
            f"{scaled:.4g} for {training.cohort} here",
            err=True,
        )
    _run(folder, lambda book, texts, bar: run_federated(book, name, training, texts, bar, num_workers=workers))


@experiment.command("list")
@_folder_option
def list_experiments(folder: Path) -> None:
    """Show all experiments that ended."""
    from evaluation.experiments.book import Book, BookError

    try:
        Console().print(Book(folder).table())
    except BookError as error:
        raise click.ClickException(str(error)) from None


@experiment.command()
@click.argument("name")
@_folder_option
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="[default: FOLDER/NAME/release]")
def release(name: str, folder: Path, output: Path | None) -> None:
    """Write NAME's weights as a release in TFLite, int8, for `keychorus evaluate`; not for devices.

    \b
    Examples:
      keychorus experiment release fed
      keychorus evaluate --predictor ngram --predictor int8=reports/experiments/fed/release
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads, as in `_run`
    from evaluation.experiments.book import Book, BookError
    from evaluation.experiments.releasing import write_release

    written = output or folder / name / "release"
    try:
        write_release(Book(folder), name, written)
    except BookError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"written to {written}")


_OF_PRODUCTION = ("epsilon", "delta", "devices", "production_cohort", "production_rounds")


def _optimizer(kind: str, learning_rate: float | None) -> "ServerOptimizer":
    from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum

    kinds: dict[str, type[ServerOptimizer]] = {"average": ServerAverage, "momentum": ServerMomentum, "adam": ServerAdam}
    return kinds[kind]() if learning_rate is None else kinds[kind](learning_rate=learning_rate)


def _noise(production: dict[str, Any], l2_clip_norm: float) -> "Noise | None":
    """The noise of a deployment in which devices stay away as long as the population's size lets them."""
    from aggregation_service.privacy.planning import Choices, Deployment, choose_mechanism, plan_noise
    from evaluation.experiments.settings import Noise

    if production["epsilon"] is None:
        return None
    deployment = Deployment(
        devices=production["devices"],
        cohort=production["production_cohort"],
        rounds=production["production_rounds"],
        separation_rounds=min(
            production["devices"] // production["production_cohort"], production["production_rounds"]
        ),
        epsilon=production["epsilon"],
        delta=production["delta"],
        l2_clip_norm=l2_clip_norm,
    )
    mechanism = choose_mechanism("buffered", deployment.schedule, Choices())
    return Noise(
        mechanism=mechanism,
        noise_multiplier=plan_noise(mechanism, deployment).noise_multiplier,
        cohort=deployment.cohort,
        devices=deployment.devices,
        rounds=deployment.rounds,
        epsilon=deployment.epsilon,
        delta=deployment.delta,
    )


def _run(folder: Path, run: Callable[..., Any]) -> None:
    """Opens the book, runs an experiment, shows all."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from evaluation.bench.runner import progress
    from evaluation.corpus import CorpusError
    from evaluation.experiments.book import Book, BookError
    from evaluation.experiments.texts import read_texts

    console = Console(stderr=True)
    try:
        book: Book = Book(folder)
        run(book, read_texts(book.text), lambda title, total: progress(title, total, console))
    except (BookError, CorpusError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    Console().print(book.table())
