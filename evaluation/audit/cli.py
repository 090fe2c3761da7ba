"""`keychorus audit`: what adversaries find, held against what is promised."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from evaluation.audit.attacks import Bar
    from evaluation.audit.outcome import Audit
    from evaluation.audit.settings import AuditSettings
    from evaluation.rehearsal.ground import Ground

    Shown = AbstractContextManager[Callable[[], None]]

PARTS = ("reconstruction", "secret-sharer", "membership")
EXIT_CONTRADICTED = 3
"""Status of a run that found more than was proven."""


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS), metavar="[PART]...")
@click.option("--size", type=click.Choice(["small", "full"]), default="small", show_default=True, help="Network.")
@click.option("--noise-multiplier", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="z.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=44, show_default=True, help="With planted phrases.")
@click.option("--cohort", type=click.IntRange(5, 1000), default=20, show_default=True, help="Devices of a round.")
@click.option("--devices", type=click.IntRange(50), default=100, show_default=True, help="Whose words are sought.")
@click.option("--canaries", type=click.IntRange(100), default=1000, show_default=True, help="Of membership.")
@click.option(
    "--noise-share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Of the promised noise that canaries really meet; less shows that the audit can fail.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is drawn.")
@click.option(
    "--workers", type=click.IntRange(0, 256), default=0, show_default=True, help="Processes that train; 0: this one."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports/audit"),
    show_default=True,
    help="Folder of the report, and of finished parts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def audit(parts: tuple[str, ...], size: str, workers: int, output: Path, as_json: bool, **choices: float) -> None:
    """Attack updates, sums and models, and hold what is found against what is promised.

    reconstruction names the words that a device typed, from its update, from a group's sum, with noise and without.
    secret-sharer plants phrases and asks the trained model for them. membership hides canary devices among others and
    tells from the model which took part: a lower bound of epsilon, beside the one that is proven. Without a PART all
    three run.

    Real devices' training on real text, in one process. What finished stays in the output folder: the same command
    goes on where it was interrupted. Ends with status 3 if a lower bound is above what was proven.

    Example: keychorus audit membership --seed 2
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads: its start-up notes help nobody here
    from evaluation.audit.report import print_audit, write_audit

    found = _run(_settings(size, choices), size, parts or PARTS, workers, output)
    json_path, html_path = write_audit(found, output)
    if as_json:
        click.echo(json_path.read_text(encoding="utf-8"), nl=False)
    else:
        print_audit(found, Console())
        click.echo(f"{html_path}, {json_path}")
    for sentence in found.contradictions:
        click.echo(f"Error: {sentence}", err=True)
    if found.contradictions:
        raise SystemExit(EXIT_CONTRADICTED)


def _settings(size: str, choices: dict[str, float]) -> "AuditSettings":
    from evaluation.audit.settings import AuditSettings, MembershipSettings
    from evaluation.rehearsal.settings import full_size, small_size

    shared = {name: choices[name] for name in ("rounds", "cohort", "seed")}
    try:
        return AuditSettings(
            rehearsal={"small": small_size, "full": full_size}[size](**shared),
            noise_multiplier=choices["noise_multiplier"],
            devices=int(choices["devices"]),
            membership=MembershipSettings(canaries=int(choices["canaries"]), noise_share=choices["noise_share"]),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _run(settings: "AuditSettings", size: str, parts: tuple[str, ...], num_workers: int, folder: Path) -> "Audit":
    from evaluation.audit.attacks import Attacker
    from evaluation.audit.outcome import Kept
    from evaluation.bench.runner import progress
    from evaluation.rehearsal.local_training import open_trainers

    console = Console(stderr=True)

    def bar(title: str, total: int) -> "Shown":
        return progress(title, total, console)

    ground = _ground(settings, folder, bar)
    with open_trainers(settings.rehearsal.plain_plan, ground.graph, ground.vocabulary, num_workers) as trainers:
        attacker = Attacker(settings=settings, ground=ground, trainers=trainers, kept=Kept(folder), bar=bar)
        return attacker.audit(size, parts)


def _ground(settings: "AuditSettings", folder: Path, bar: "Bar") -> "Ground":
    from evaluation.corpus import load_chitchat
    from evaluation.rehearsal.ground import count_pretraining, lay_ground
    from evaluation.rehearsal.people import draw_cohorts, gather_people

    shared = settings.rehearsal
    people = gather_people(load_chitchat(), shared)
    try:
        draw_cohorts(list(people.training), shared)  # refuses a cohort larger than the population
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with bar("pre-training", count_pretraining(shared, people)) as on_step:
        return lay_ground(shared, people, folder, on_step)
