"""`keychorus service budget`: what a population's privacy budget still pays for."""

import math
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.shared import clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations import BudgetOutlook

_DAY_S = 24 * 3600


@click.command()
@click.argument("population_name", metavar="POPULATION")
@config_option
def budget(population_name: str, config_path: Path) -> None:
    """Show the privacy spent, the budget, and what it still pays for.

    Counted for the device that took part most often. `population policy NAME --epsilon-budget X` sets the budget.

    \b
    Example:
      keychorus service budget en-gb --config /srv/keychorus/service.toml
    """
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
    if outlook.affordable is None:
        return [*rows, ("pays for", "nothing is trained at present")]
    left = outlook.affordable - outlook.participations
    if left == 0:
        return [*rows, ("pays for", "no further participation: training has stopped or stops before its next round")]
    what = f"{left} more participation{'s' if left > 1 else ''} at noise multiplier {outlook.noise_multiplier:g}"
    return [*rows, ("pays for", what), ("lasts at least", _days(outlook.lasts_s))]


def _days(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{seconds / _DAY_S:,.1f} days, by the minimum separation"


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"
