"""`keychorus service words`: new words that devices vote for, and their review."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.shared import NUMBER, clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations import DiscoverySettings
from aggregation_service.storage.discoveries import WordStatus
from protocol.discovery.parameters import ENGLISH_LETTERS, MAX_LEVELS, MAX_STEP, DiscoveryParameters

_population = click.argument("population_name", metavar="POPULATION")
_ids = click.argument("ids", metavar="WORD_NUMBER...", nargs=-1, required=True, type=NUMBER)


@click.group()
def words() -> None:
    """New words: discover them, review them, write them down for the next vocabulary."""


@words.command("discover")
@_population
@click.option("--noise-multiplier", type=float, help="Noise on each count, in sqrt(max-words); without: training's.")
@click.option("--report-goal", type=int, help="Devices that vote in each level; without: as many as train.")
@click.option("--minimum-reports", type=int, help="Fewer by the deadline abandon a round; without: as in training.")
@click.option("--minimum-separation-s", type=float, help="Seconds from one round of a device to its next.")
@click.option("--steps", default="4,2,2,2,2", show_default=True, help="Letters that each level adds.")
@click.option("--letters", default=ENGLISH_LETTERS, show_default=True, help="That words consist of, in order.")
@click.option("--max-words", default=16, show_default=True, help="Words that a device votes for.")
@click.option("--min-messages", default=1, show_default=True, help="Messages of a device that must hold a word.")
@click.option("--max-prefixes", default=1_000, show_default=True, help="Beginnings that go on to the next level.")
@click.option("--hidden-devices", default=1, show_default=True, help="What at most so many devices have stays hidden.")
@click.option("--chance", default=1e-6, show_default=True, help="But for this chance.")
@config_option
def discover(
    *,
    population_name: str,
    noise_multiplier: float | None,
    report_goal: int | None,
    minimum_reports: int | None,
    minimum_separation_s: float | None,
    steps: str,
    letters: str,
    config_path: Path,
    max_words: int,
    min_messages: int,
    max_prefixes: int,
    hidden_devices: int,
    chance: float,
) -> None:
    """Let devices vote, level by level, for words that they typed and the vocabulary does not have.

    Levels take turns with rounds of training; devices take part whose owners ran `keychorus device run
    --discover-words`. What comes out waits for review.

    \b
    Examples:
      keychorus service words discover en-gb --noise-multiplier 9.45 --report-goal 100000
      keychorus service words discover en-gb --noise-multiplier 4 --hidden-devices 50 --minimum-reports 5000
    """
    settings = DiscoverySettings(
        report_goal=report_goal,
        minimum_reports=minimum_reports,
        noise_multiplier=noise_multiplier,
        minimum_separation_s=minimum_separation_s,
    )
    with clear_errors():
        parameters = DiscoveryParameters(
            letters=letters,
            steps=_read_steps(steps),
            max_words=max_words,
            min_messages=min_messages,
            max_prefixes=max_prefixes,
            hidden_devices=hidden_devices,
            chance=chance,
        )
        parameters = operations.checked_parameters(parameters)
        begun = operations.create_discovery(
            load_config(config_path), population=population_name, parameters=parameters, settings=settings
        )
    click.echo(
        f"task {begun.task_id} discovers words of up to {parameters.max_letters} letters in {begun.levels} levels; "
        f"what comes out has {begun.threshold:.1f} votes or more, noise included"
    )
    click.echo(f"a device in every level is charged ε {begun.epsilon:.3g} at δ {begun.delta:g} for them")


@words.command("list")
@_population
@click.option("--status", type=click.Choice(["found", "approved", "rejected"]), help="Only these; without: all.")
@config_option
def list_words(*, population_name: str, status: WordStatus | None, config_path: Path) -> None:
    """Show the words that came out, those of most devices first; counts have noise on them.

    \b
    Example:
      keychorus service words list en-gb --status found
    """
    with clear_errors():
        known = operations.list_words(load_config(config_path), population_name, status)
    table = Table(title=f"new words of {population_name}")
    for heading in ("word number", "word", "devices", "task", "status", "decided by"):
        table.add_column(heading, justify="right" if heading in ("word number", "devices", "task") else "left")
    for each in known:
        numbers = (f"{each.devices:,.1f}", str(each.task_id))
        table.add_row(str(each.id), each.word, *numbers, each.status, each.decided_by or "")
    Console().print(table)


@words.command("approve")
@_population
@_ids
@config_option
def approve(*, population_name: str, ids: tuple[int, ...], config_path: Path) -> None:
    """Let words join the next vocabulary. The audit log keeps their numbers, not the words.

    \b
    Example:
      keychorus service words approve en-gb 1 2 5
    """
    _decide(config_path, population_name, ids, "approved")


@words.command("reject")
@_population
@_ids
@config_option
def reject(*, population_name: str, ids: tuple[int, ...], config_path: Path) -> None:
    """Keep words out of the next vocabulary, also where they were approved before.

    \b
    Example:
      keychorus service words reject en-gb 3 4
    """
    _decide(config_path, population_name, ids, "rejected")


@words.command("export")
@_population
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write, as TSV."
)
@config_option
def export(*, population_name: str, output: Path, config_path: Path) -> None:
    """Write the approved words to a file, a word, a tab and its noised count a line.

    `keychorus model grow` makes the next vocabulary and its weights of it.

    \b
    Example:
      keychorus service words export en-gb --output words.tsv
    """
    with clear_errors():
        content = operations.approved_words(load_config(config_path), population_name)
        output.write_bytes(content)
    click.echo(f"{output}: {content.count(10)} words")


def _decide(config_path: Path, population: str, ids: tuple[int, ...], status: WordStatus) -> None:
    with clear_errors():
        count = operations.decide_words(load_config(config_path), population, ids, status)
    click.echo(f"{count} {'word is' if count == 1 else 'words are'} {status}")


def _read_steps(text: str) -> tuple[int, ...]:
    """Bounded here already: what steps make of letters grows by powers."""
    steps = tuple(int(step) for step in text.split(",") if step.isdecimal() and len(step) < 3)
    if steps and len(steps) == len(text.split(",")) <= MAX_LEVELS and all(1 <= step <= MAX_STEP for step in steps):
        return steps
    raise click.UsageError(f"--steps must be 1 to {MAX_LEVELS} numbers from 1 to {MAX_STEP}, with commas between them")
