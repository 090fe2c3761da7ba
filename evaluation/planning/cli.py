"""`keychorus plan`: what a fleet takes, before there is one, and the measuring of what the plan is made from."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec
from rich.console import Console

from aggregation_service.privacy.planning import MECHANISM_KINDS
from evaluation.planning.assumptions import Assumptions, source
from evaluation.planning.costs import DEFAULT_COSTS, NoCosts, read_costs
from protocol.update import UpdateFormat

_F = TypeVar("_F", bound=Callable[..., Any])
_HELP = {
    "devices": "Enrolled in the population.",
    "report_goal": "Reports that a round's sum is divided by.",
    "rounds": "Of training.",
    "separation_rounds": "From one report of a device to its next, at least.",
    "epsilon": "What all rounds may cost; decides the noise.",
    "noise_multiplier": "Of the plan, in place of --epsilon.",
    "delta": "At which epsilon is told.",
    "over_selection": "Devices selected for each report wanted.",
    "drop_out": "Share of the selected that never report.",
    "eligible_hours": "A day that a device is idle, charging and unmetered.",
    "swing": "Devices eligible in the best hour for one in the worst.",
    "selection_timeout_s": "A round gathers its cohort within, or is abandoned.",
    "value_bits": "Of a weight of a masked update.",
    "group_size": "Of secure aggregation.",
    "group_gather_s": "How long a device may wait for its group.",
    "stage_s": "How long each of a group's four stages lasts.",
    "poll_s": "After how long a member that waits asks again.",
    "host_cores": "Of a service host.",
    "utilisation": "Of the cores in the busiest moment.",
    "spare_hosts": "So many may be away in the busiest moment.",
    "cdn_share": "Of the bytes of files, served by a cache before the service.",
    "database_write_mb_s": "That one database's disk takes.",
    "words": "Of a device's log that a round trains on.",
    "epochs": "Over them.",
    "slow_factor": "How much slower a device's core is than the one measured.",
    "up_mb_s": "Of a device's network.",
    "down_mb_s": "Of a device's network.",
    "watts": "That a device takes while it trains, loads or sends.",
    "battery_wh": "Of a full battery.",
    "releases_a_month": "That each device downloads.",
    "release_mb": "Of a release.",
}


def _assumption_options(command: _F) -> _F:
    """Adds an option for every number among the assumptions."""
    for known in reversed(fields(Assumptions)):
        if known.name in _HELP:
            low, high = known.metadata["low"], known.metadata["high"]
            ranged = click.IntRange(low, high) if isinstance(known.default, int) else click.FloatRange(low, high)
            command = click.option(
                f"--{known.name.replace('_', '-')}",
                type=ranged,
                default=known.default,
                show_default=known.default is not None,
                help=f"{_HELP[known.name]}  [{source(known.name)}]",
            )(command)
    return command


@click.group(invoke_without_command=True)
@_assumption_options
@click.option(
    "--mechanism", type=click.Choice(MECHANISM_KINDS), default="buffered", show_default=True, help="Of noise."
)
@click.option(
    "--secure-aggregation/--plain-updates", default=True, show_default=True, help="Whether updates are masked."
)
@click.option(
    "--update-format",
    type=click.Choice(get_args(UpdateFormat)),
    default="int16",
    show_default=True,
    help="Of plain updates.",
)
@click.option(
    "--costs",
    "costs_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_COSTS,
    help="What `keychorus plan measure` wrote; without it, what comes with Keychorus.",
)
@click.option("--everything", is_flag=True, help="Also print what was assumed and measured, and how good the model is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything.")
@click.pass_context
def plan(context: click.Context, /, costs_path: Path, everything: bool, as_json: bool, **assumed: Any) -> None:
    """What a fleet takes of hosts, database, lines and devices, and how long and private its training is.

    Every figure is measured, assumed or follows from these, and says which. Whatever is assumed is an option, whose
    source stands in brackets. Nothing is started and nothing is asked of a service.

    \b
    Examples:
      keychorus plan --devices 10000000 --report-goal 6500 --rounds 2000 --epsilon 2
      keychorus plan --devices 10000000 --poll-s 15 --cdn-share 0.95 --everything
      keychorus plan --devices 2000 --report-goal 100 --separation-rounds 5 --plain-updates --json
    """
    if context.invoked_subcommand is not None:
        return
    from evaluation.planning.plan import make_plan
    from evaluation.planning.table import print_plan

    try:
        made = make_plan(Assumptions(**assumed), read_costs(costs_path))
    except (ValueError, NoCosts) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(made)))
    else:
        print_plan(made, Console(), everything=everything)


@plan.command()
@click.option(
    "--database-url",
    required=True,
    help="An empty PostgreSQL database on this machine, as postgresql://USER@HOST/NAME.",
)
@click.option("--sizes", default="32,128,512", show_default=True, help="Cohorts, separated by commas.")
@click.option("--rounds", type=click.IntRange(1, 10), default=3, show_default=True, help="Of each size that count.")
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="Network.")
@click.option("--connections", type=click.IntRange(1, 256), default=16, show_default=True, help="At the same time.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="gunicorn's.")
@click.option(
    "--group-size", type=click.IntRange(16, 4096), default=128, show_default=True, help="Secure aggregation's."
)
@click.option(
    "--machine", default="a machine that was not described", help="Its kind and what else it does, to stand in plans."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("costs.json"), show_default=True
)
def measure(sizes: str, size: str, output: Path, **options: Any) -> None:
    """Measure unit costs here, and check the plan's model of the service against what was measured.

    Rounds of the real service over real HTTP, on PostgreSQL, at each of some sizes. Each size is then predicted from
    the others. It takes some minutes, and both cores of a small machine.

    Example: keychorus plan measure --database-url postgresql://keychorus@localhost/empty --output costs.json
    """
    from evaluation.bench.bench_service import ServiceFailed
    from evaluation.bench.ingest import WrongSum
    from evaluation.bench.train_step import SIZES
    from evaluation.planning.checking import check_model
    from evaluation.planning.measuring import Choices, run
    from evaluation.planning.table import print_check

    console = Console(stderr=True)
    try:
        command = f"keychorus plan measure --sizes {sizes} --rounds {options['rounds']} --size {size}"
        choices = Choices(sizes=_numbers(sizes), shape=SIZES[size], command=command, **options)
        costs = run(choices, console=console)
    except (ValueError, NoCosts, ServiceFailed, WrongSum) as error:
        raise click.ClickException(str(error)) from None
    output.write_bytes(msgspec.json.format(msgspec.json.encode(costs)) + b"\n")
    print_check(check_model(costs.runs), Console())
    click.echo(f"costs are in {output}")


def _numbers(sizes: str) -> list[int]:
    try:
        return [int(each) for each in sizes.split(",")]
    except ValueError:
        raise click.BadParameter(f'sizes must be numbers such as "32,128,512", got "{sizes}"') from None
