"""`keychorus service budget` without a population: what noise a deployment would need, before there is one."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from aggregation_service.commands.mechanism_options import choice_options, make_choices
from aggregation_service.commands.shared import clear_errors
from aggregation_service.privacy.planning import (
    MECHANISM_KINDS,
    Choices,
    Deployment,
    NoisePlan,
    choose_mechanism,
    plan_noise,
)
from aggregation_service.privacy.shares_planning import SharesPlan, plan_shares
from aggregation_service.privacy.wording import label_mechanism, label_shares

_F = TypeVar("_F", bound=Callable[..., Any])
_NEEDED = ("devices", "cohort", "rounds", "epsilon", "delta")
_FIELDS = {"separation": "separation_rounds", "max_participations": "participation_limit", "clip": "l2_clip_norm"}
_FIELDS |= {"weights": "num_weights"}


def plan_options(command: _F) -> _F:
    """Adds what a plan is made of; all None unless given."""
    for option in reversed(
        (
            click.option("--devices", type=int, help="Plan for a population of so many devices."),
            click.option("--cohort", type=int, help="Reports a round."),
            click.option("--rounds", type=int, help="Rounds of training."),
            click.option(
                "--separation",
                type=int,
                help="Rounds from one report of a device to its next, at least; devices / cohort, unless given.",
            ),
            click.option("--max-participations", type=int, help="Of one device; as many as fit, unless given."),
            click.option("--epsilon", type=float, help="What all rounds together may cost."),
            click.option("--delta", type=float, help="At which epsilon is told."),
            click.option("--clip", type=float, help="L2 norm that updates are clipped to; 1."),
            click.option("--weights", type=int, help="Of the model; 1,400,000. Rounding costs a little for each."),
            choice_options,
            click.option("--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path), help="SVG to write."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
        )
    ):
        command = option(command)
    return command


def is_asked_for(options: dict[str, Any]) -> bool:
    """Whether any option of a plan was given."""
    return any(value is not None and value is not False for value in options.values())


def show_plan(options: dict[str, Any]) -> None:
    """Prints, and draws if asked to, what each mechanism needs.

    Raises:
      click.UsageError: an option is missing.
      click.ClickException: a number out of its bound, or a plot that cannot be written.

    """
    for name in _NEEDED:
        if options[name] is None:
            raise click.UsageError(f"without a POPULATION a plan is made, which needs --{name}")
    with clear_errors():
        deployment, choices = _deployment(options), make_choices(options)
        plans, shares = list(_plans(deployment, choices)), plan_shares(deployment)
        if options["plot_path"] is not None:
            _draw(deployment, plans, options["plot_path"])
    if options["as_json"]:
        click.echo(_json(deployment, plans, shares))
    else:
        Console().print(_table(deployment, plans, shares))


def _deployment(options: dict[str, Any]) -> Deployment:
    names = (*_NEEDED, *_FIELDS)
    given = {_FIELDS.get(name, name): options[name] for name in names if options[name] is not None}
    given.setdefault("separation_rounds", max(options["devices"] // max(options["cohort"], 1), 1))
    return Deployment(**given)


def _plans(deployment: Deployment, choices: Choices) -> Iterator[NoisePlan]:
    """One a mechanism; the search for the best parameters takes seconds where rounds are many."""
    console = Console(stderr=True)
    kinds = track(MECHANISM_KINDS, "optimising", console=console, transient=True, disable=not console.is_terminal)
    for kind in kinds:
        yield plan_noise(choose_mechanism(kind, deployment.schedule, choices), deployment)


def _table(deployment: Deployment, plans: Sequence[NoisePlan], shares: SharesPlan | None) -> Table:
    title = f"noise for ε {deployment.epsilon:g} at δ {deployment.delta:g}"
    table = Table(title=title, caption=_caption(deployment), title_justify="left", caption_justify="left")
    headings = ("vectors\nkept", "sensitivity", "noise\nmultiplier", "error", "largest\nerror")
    table.add_column("mechanism", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for plan in plans:
        table.add_row(
            label_mechanism(plan.mechanism),
            str(plan.vectors_kept),
            f"{plan.sensitivity:.4g}",
            f"{plan.noise_multiplier:g}",
            f"{plan.rms_error:.3g}",
            f"{plan.largest_error:.3g}",
        )
    if shares is not None:
        table.add_row(
            label_shares(shares.members),
            "0",
            f"{math.sqrt(deployment.participations):.4g}",
            f"{shares.noise_multiplier:g}",
            f"{shares.rms_error:.3g}",
            f"{shares.largest_error:.3g}",
        )
    return table


def _caption(deployment: Deployment) -> str:
    return (
        f"{deployment.rounds:,} rounds of {deployment.cohort:,} of {deployment.devices:,} devices; each takes part "
        f"{deployment.participations} times at most, {deployment.separation_rounds:,} rounds apart. Error: the "
        f"deviation that noise gives a weight, root mean square over all rounds' models and largest, at clipping norm "
        f"{deployment.l2_clip_norm:g} and server learning rate 1. Devices: noise that they add in shares, under secure "
        "aggregation, each group enough for itself; the others are the service's."
    )


def _json(deployment: Deployment, plans: Sequence[NoisePlan], shares: SharesPlan | None) -> str:
    told = {"deployment": deployment, "participations": deployment.participations, "plans": plans}
    told["noise_by_devices"] = shares
    return msgspec.json.format(msgspec.json.encode(told)).decode()


def _draw(deployment: Deployment, plans: Sequence[NoisePlan], path: Path) -> None:
    from aggregation_service.dashboard.plan_chart import draw_plans  # not earlier: a table needs no charts

    path.write_text(draw_plans(deployment, {label_mechanism(plan.mechanism): plan for plan in plans}), encoding="utf-8")
