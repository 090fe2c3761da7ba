"""`keychorus rehearse`: what codec and attackers do to recall."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from evaluation.rehearsal.ground import Ground
    from evaluation.rehearsal.outcome import Rehearsal
    from evaluation.rehearsal.settings import RehearsalSettings

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
    """Rounds in one process that differ in one thing: what does it do to recall?

    The devices' own trainer, codec and clipping, and the service's way to combine, on real text, without network, noise
    and secrecy. What finished stays in the output folder: the same command goes on where it was interrupted.
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
