"""`keychorus service budget`: what a population's privacy budget still pays for, or what noise a plan would need."""

import math
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.budget_plan import is_asked_for, plan_options, show_plan
from aggregation_service.commands.shared import clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations import BudgetOutlook

_DAY_S = 24 * 3600


@click.command()
@click.argument("population_name", metavar="[POPULATION]", required=False)
@plan_options
@config_option
def budget(population_name: str | None, config_path: Path, **options: Any) -> None:
    """Show what a population has spent and still may, or plan the noise of one that is to be.

    With POPULATION: the privacy spent, the budget, and what it still pays for, counted for the device that took part
    most often. `population policy NAME --epsilon-budget X` sets the budget.

    Without: for each mechanism the noise multiplier with which all rounds cost epsilon at most, as the ledger will
    tell it, and what that noise does to the weights. Other releases, such as evaluations, are not in it.

    \b
    Examples:
      keychorus service budget en-gb --config /srv/keychorus/service.toml
      keychorus service budget --devices 10000000 --cohort 6500 --rounds 2000 --separation 342 \\
          --epsilon 2 --delta 1e-10 --plot plan.svg
    """
    if population_name is None:
        show_plan(options)
    elif is_asked_for(options):
        raise click.UsageError("a plan is made without a POPULATION: leave out either that or the options")
    else:
        _show_population(population_name, config_path)


def _show_population(population_name: str, config_path: Path) -> None:
    with clear_errors():
        outlook = operations.budget_outlook(load_config(config_path), population_name)
    table = Table(title=f"privacy budget of {outlook.population}", show_header=False)
    for name, value in _rows(outlook):
        table.add_row(name, value)
    Console().print(table)


def _rows(outlook: BudgetOutlook) -> list[tuple[str, str]]:
    spent = f"ε {_number(outlook.spent.epsilon)} at δ {outlook.spent.delta:g}, ρ {_number(outlook.spent.rho)}"
    rows = [("spent", spent), ("participations of the busiest device", str(outlook.participations))]
    if outlook.epsilon_budget is None:
        return [*rows, ("budget", "none set; training goes on whatever it costs")]
    rows.append(("budget", f"ε {outlook.epsilon_budget:g}"))
    if outlook.rounds_left is not None:
        return [*rows, ("pays for", _rounds(outlook.rounds_left))]
    if outlook.affordable is None:
        return [*rows, ("pays for", "nothing is trained at present")]
    left = outlook.affordable - outlook.participations
    if left == 0:
        return [*rows, ("pays for", "no further participation: training has stopped or stops before its next round")]
    what = f"{left} more participation{'s' if left > 1 else ''} at noise multiplier {outlook.noise_multiplier:g}"
    return [*rows, ("pays for", what), ("lasts at least", _days(outlook.lasts_s))]


def _rounds(left: int) -> str:
    if left == 0:
        return "no further round: training has stopped or stops before its next one"
    return f"{left:,} more round{'s' if left > 1 else ''}, even if a device takes part as often as it may"


def _days(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{seconds / _DAY_S:,.1f} days, by the minimum separation"


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"
