"""`keychorus evaluate`: every predictor asked for the same words."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from evaluation.corpus import Message
    from evaluation.evaluate.contestants import Ground
    from evaluation.evaluate.evaluating import Race, Text
    from evaluation.evaluate.measuring import Bar
    from evaluation.evaluate.outcome import Evaluation
    from evaluation.evaluate.people import Gathered
    from evaluation.evaluate.settings import EvaluationSettings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--predictor",
    "specifications",
    multiple=True,
    metavar="[NAME=]SPEC",
    default=("unigram",),
    help="Repeatable. A baseline (see below), a release's FOLDER, personalised:FOLDER, or a FILE.safetensors of "
    "weights. The first is the reference.",
)
@click.option("--reference", metavar="NAME", help="Name of the predictor that the others are compared with.")
@click.option("--rounds", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of checkpoints.")
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    metavar="CORPUS",
    default=("chitchat",),
    help="Repeatable. chitchat, a JSON-lines FILE of {user, sent_at, text} and, if you like, group (.gz too), or a "
    "FILE.txt of one user, one message a line.  [default: chitchat]",
)
@click.option("--train", "training_corpora", multiple=True, metavar="CORPUS", help="Repeatable. More text to train on.")
@click.option("--vocabulary", type=_FILE, help="vocabulary.model; else a release's, else one made of training text.")
@click.option("--min-messages", type=click.IntRange(2), default=20, show_default=True, help="Of a user.")
@click.option("--max-messages", type=click.IntRange(0), default=200, show_default=True, help="Of a user; 0: all.")
@click.option(
    "--held-out-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Of users.",
)
@click.option("--max-users", type=click.IntRange(1), help="Of each population.")
@click.option("--max-words", type=click.IntRange(1), help="Of each population, in whole users.")
@click.option(
    "--suggester-words",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="Likewise, of predictors that are asked key by key.",
)
@click.option("--keystrokes", type=click.IntRange(1), default=500, show_default=True, help="Of each, timed.")
@click.option("--draws", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is drawn.")
@click.option(
    "--processes", type=click.IntRange(0, 256), default=0, show_default=True, help="That ask; 0: this one alone."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports/evaluation"),
    show_default=True,
    help="Folder of the report, and of answers that need not be asked for again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def evaluate(output: Path, as_json: bool, **choices: Any) -> None:
    """Ask every predictor for the same words, and say how sure the figures are.

    Two populations: people held out entirely, and the later messages of people whose earlier ones are training text.
    Baselines train on that text and on --train, the same for all; `unigram` suggests the most frequent words, and a
    name that is none is answered with a list of all. Releases and weights come as they are: whoever made them must have
    held out the same people (same seed and share).

    Answers are kept in the output folder: the same command goes on where it was interrupted.

    \b
    Examples:
      keychorus evaluate --predictor unigram --predictor reports/demo/release
      keychorus evaluate --predictor reports/demo/release --predictor personalised:reports/demo/release
      keychorus evaluate --corpus mine.jsonl.gz --predictor unigram --predictor federated=run/weights.safetensors \\
        --vocabulary run/vocabulary.model --rounds run/checkpoints
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from evaluation.answers import InvalidScores
    from evaluation.corpus import CorpusError
    from evaluation.evaluate.contestants import AbsentPredictor, UnknownPredictor
    from evaluation.evaluate.report import print_evaluation, write_evaluation

    try:
        found = _run(output, choices)
    except (CorpusError, InvalidScores, AbsentPredictor) as error:
        raise click.ClickException(str(error)) from None
    except UnknownPredictor as error:
        raise click.UsageError(str(error)) from None
    json_path, html_path = write_evaluation(found, output)
    if as_json:
        click.echo(json_path.read_text(encoding="utf-8"), nl=False)
    else:
        print_evaluation(found, Console())
        click.echo(f"{html_path}, {json_path}")


def _run(output: Path, choices: dict[str, Any]) -> "Evaluation":
    from evaluation.evaluate.evaluating import evaluate as run
    from evaluation.evaluate.measuring import Asker, Kept, Measurer, open_askers

    bar = _bar(Console(stderr=True))
    settings, race = _settings(choices), _race(choices)
    with bar("reading text", 1) as on_read:
        gathered, ground, text = _read(race, settings, choices, output)
        on_read()
    asker = Asker(ground)
    with open_askers(asker, ground, choices["processes"]) as asked:
        measurer = Measurer(asker, asked, ground, Kept(output / "answers"), bar)
        return run(race, gathered.populations, text, settings, measurer)


def _bar(console: Console) -> "Bar":
    from evaluation.bench.runner import progress

    def bar(title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        return progress(title, total, console)

    return bar


def _settings(choices: dict[str, Any]) -> "EvaluationSettings":
    from evaluation.evaluate.settings import EvaluationSettings

    named = {each.name: choices[each.name] for each in fields(EvaluationSettings)}
    try:
        return EvaluationSettings(**named | {"max_messages": choices["max_messages"] or None})
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _race(choices: dict[str, Any]) -> "Race":
    from evaluation.evaluate.contestants import parse_contestant
    from evaluation.evaluate.evaluating import Race, checkpoints_of

    contestants = [parse_contestant(each) for each in choices["specifications"]]
    rounds = checkpoints_of(choices["rounds"]) if choices["rounds"] else ()
    try:
        return Race(contestants=contestants, reference=choices["reference"] or contestants[0].name, rounds=rounds)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _read(
    race: "Race", settings: "EvaluationSettings", choices: dict[str, Any], output: Path
) -> tuple["Gathered", "Ground", "Text"]:
    """Reads all text, and makes a vocabulary of it where none is given."""
    from evaluation.corpus import load_corpus
    from evaluation.evaluate.contestants import Ground, choose_vocabulary
    from evaluation.evaluate.evaluating import Text
    from evaluation.evaluate.people import gather

    messages: list[Message] = [message for name in choices["corpora"] for message in load_corpus(name)]
    try:
        gathered = gather(messages, settings)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    public = [message.text for name in choices["training_corpora"] for message in load_corpus(name)]
    training = (*public, *gathered.training)
    given = choices["vocabulary"] and choices["vocabulary"].read_bytes()
    vocabulary = choose_vocabulary(given, race.contestants, training)
    text = Text(
        corpora=tuple(Path(name).name for name in choices["corpora"]),
        training_corpora=tuple(Path(name).name for name in choices["training_corpora"]),
        training_messages=len(training),
        vocabulary_size=len(vocabulary),
    )
    ground = Ground(vocabulary=vocabulary.model, training=training, folder=output / "baselines")
    return gathered, ground, text
