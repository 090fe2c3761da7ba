"""`keychorus rehearse`: what codec and attackers do to recall, and which new words are found."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from evaluation.discovery.outcome import DiscoveryReport
    from evaluation.rehearsal.ground import Ground
    from evaluation.rehearsal.outcome import Rehearsal
    from evaluation.rehearsal.settings import RehearsalSettings

EXIT_CAME_OUT = 3
"""Status of a discovery in which something of one person came out."""

_OPTIONS = [
    click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network."),
    click.option("--rounds", type=click.IntRange(1, 1000), default=26, show_default=True, help="Of each arm."),
    click.option("--cohort", type=click.IntRange(5, 1000), default=20, show_default=True, help="Devices of a round."),
    click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of people, cohorts, weights."),
    click.option(
        "--workers",
        type=click.IntRange(0, 256),
        default=os.cpu_count,
        show_default="number of processors",
        help="Processes that train; 0 trains in this one.",
    ),
    click.option(
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the report, and of finished arms.  [default: reports/rehearsals/NAME]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
]


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def rehearse() -> None:
    """Rounds in one process that differ in one thing: what does it do to recall, or to the words that are found?

    The devices' own trainer, codec and clipping, and the service's way to combine, on real text, without network and
    secrecy; noise only in `words`. What finished stays in the output folder of the others: the same command goes on
    where it was interrupted.
    """


@rehearse.command()
@_with_options
@click.option("--int16", "with_int16", is_flag=True, help="Also plain uploads of 16-bit integers.")
def codec(with_int16: bool, **choices: Any) -> None:
    """Recall with secure aggregation's integers against float32 uploads, after the same rounds.

    Integers of 12 bits that leave room for 128 devices, so that their steps are those of a cohort of 128, though fewer
    share the error.

    Example: keychorus rehearse codec --size small --rounds 10
    """
    from evaluation.rehearsal.comparisons import codec_arms

    _run("codec", lambda settings, _: codec_arms(settings, with_int16=with_int16), choices)


@rehearse.command()
@_with_options
@click.option(
    "--attackers",
    type=click.FloatRange(0, 0.5, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of the devices.",
)
@click.option("--group-size", type=click.IntRange(5, 128), default=10, show_default=True, help="Of secure aggregation.")
@click.option(
    "--way",
    "ways",
    multiple=True,
    type=click.Choice(["plain", "median", "trimmed", "secure", "unchecked"]),
    help="To combine; may be given again.  [default: all]",
)
def poisoning(ways: tuple[str, ...], **choices: Any) -> None:
    """Recall, and a backdoor's success, when some devices send what the plan does not say.

    Each way to combine updates runs without attackers and with boosted, sign-flipped and backdoored ones, on the same
    cohorts.

    Example: keychorus rehearse poisoning --size small --way plain --attackers 0.1
    """
    from evaluation.rehearsal.comparisons import WAYS, poisoning_arms

    def arms(settings: "RehearsalSettings", backdoor: Any) -> Any:
        return poisoning_arms(settings, backdoor, ways or WAYS)

    _run("poisoning", arms, choices)


@rehearse.command()
@click.option(
    "--corpus",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON lines of {"user", "sent_at", "text"}, or the same as .gz.  [default: chitchat-dataset]',
)
@click.option(
    "--epsilon",
    "epsilons",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(1.0, 4.0, 8.0),
    show_default=True,
    help="Of all levels together; may be given again.",
)
@click.option(
    "--delta",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=1e-6,
    show_default=True,
    help="At which epsilon is told.",
)
@click.option(
    "--population",
    "populations",
    type=click.IntRange(1),
    multiple=True,
    default=(100_000, 1_000_000),
    show_default=True,
    help="Devices whose noise is tried too, scaled to those of the corpus; may be given again.",
)
@click.option("--frequent", type=click.IntRange(2), default=50, show_default=True, help="People who typed a true word.")
@click.option("--max-words", type=click.IntRange(1, 1000), default=16, show_default=True, help="Of a device.")
@click.option("--min-messages", type=click.IntRange(1), default=1, show_default=True, help="Of a device, with a word.")
@click.option(
    "--hidden-devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="What so many have is not to come out.",
)
@click.option("--vocabulary-size", type=click.IntRange(100), default=10_000, show_default=True, help="Known words.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of noise and ties.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports/rehearsals/words"),
    show_default=True,
    help="Folder of the report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def words(corpus: Path | None, output: Path, as_json: bool, **choices: Any) -> None:
    """New words by private federated discovery: how many of the frequent ones come out, and none of one person.

    Each person of the corpus is a device that votes for its words that the vocabulary lacks. Prints numbers, never a
    word. Ends with status 3 if a word or prefix of one person came out.

    Example: keychorus rehearse words --corpus messages.jsonl.gz --epsilon 4 --population 1000000
    """
    from evaluation.discovery.report import print_discovery, write_discovery

    found = _discover(corpus, choices)
    json_path, html_path = write_discovery(found, output)
    if as_json:
        click.echo(json_path.read_text(encoding="utf-8"), nl=False)
    else:
        print_discovery(found, Console())
        click.echo(f"{html_path}, {json_path}")
    if found.lone_words:
        click.echo(f"Error: {found.lone_words} words or prefixes of one person came out", err=True)
        raise SystemExit(EXIT_CAME_OUT)


def _discover(corpus: Path | None, choices: dict[str, Any]) -> "DiscoveryReport":
    from evaluation.bench.runner import progress
    from evaluation.corpus import CorpusError, load_chitchat, load_jsonl
    from evaluation.discovery.run import count_levels, rehearse_discovery
    from evaluation.discovery.settings import DiscoverySettings
    from evaluation.discovery.typed import gather_words
    from model.public_words import public_vocabulary
    from protocol.discovery.parameters import DiscoveryParameters

    name = corpus.name if corpus else "chitchat-dataset"
    own = ("max_words", "min_messages", "hidden_devices")
    parameters = DiscoveryParameters(**{name: choices.pop(name) for name in own})
    try:
        settings = DiscoverySettings(parameters=parameters, **choices)
        vocabulary = public_vocabulary("en", settings.vocabulary_size)
        typed = gather_words(load_jsonl(corpus) if corpus else load_chitchat(), vocabulary, settings)
        with progress("levels", count_levels(settings), Console(stderr=True)) as on_level:
            return rehearse_discovery(typed, settings, corpus=name, on_level=on_level)
    except (CorpusError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _run(name: str, arms_of: Callable[..., Any], choices: dict[str, Any]) -> None:
    """Lays the ground, runs the arms, writes and prints the report."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from evaluation.bench.runner import progress
    from evaluation.rehearsal.attacks import Backdoor
    from evaluation.rehearsal.comparisons import rehearse as run
    from evaluation.rehearsal.report import print_rehearsal, write_rehearsal

    size, num_workers, as_json = choices.pop("size"), choices.pop("workers"), choices.pop("as_json")
    folder = choices.pop("output") or Path("reports/rehearsals") / name
    console = Console(stderr=True)
    ground = _ground(size, choices, folder, console)
    try:
        backdoor = Backdoor.of(ground.vocabulary)
    except ValueError as error:
        raise click.UsageError(f"{error}: another seed gives another vocabulary") from None
    result: Rehearsal = run(
        *(name, size, arms_of(ground.settings, backdoor), ground, backdoor),
        folder=folder,
        num_workers=num_workers,
        bar=lambda title, total: progress(title, total, console),
    )
    json_path, html_path = write_rehearsal(result, folder)
    if as_json:
        click.echo(json_path.read_text(encoding="utf-8"), nl=False)
    else:
        print_rehearsal(result, Console())
        click.echo(f"{html_path}, {json_path}")


def _ground(size: str, choices: dict[str, Any], folder: Path, console: Console) -> "Ground":
    from evaluation.bench.runner import progress
    from evaluation.corpus import load_chitchat
    from evaluation.rehearsal.ground import count_pretraining, lay_ground
    from evaluation.rehearsal.people import draw_cohorts, gather_people
    from evaluation.rehearsal.settings import full_size, small_size

    try:
        settings = {"small": small_size, "full": full_size}[size](**choices)
        people = gather_people(load_chitchat(), settings)
        draw_cohorts(list(people.training), settings)  # refuses a cohort larger than the population
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with progress("pre-training", count_pretraining(settings, people), console) as on_step:
        return lay_ground(settings, people, folder, on_step)
