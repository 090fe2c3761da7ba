"""A plan in the terminal."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from evaluation.numbers import number
from evaluation.planning.checking import Check
from evaluation.planning.plan import Plan
from evaluation.planning.rows import Row

_CHAPTERS = ("rounds", "privacy", "service", "database", "network", "device")


def print_plan(plan: Plan, console: Console, *, everything: bool) -> None:
    """Prints what is needed; with `everything` also what was assumed and measured, and how good the model is."""
    table = _table("what it takes")
    for chapter in _CHAPTERS:
        _add(table, chapter, getattr(plan, chapter))
    console.print(table)
    if everything:
        for title, rows in (("assumed", plan.assumed), ("measured", plan.measured)):
            table = _table(title)
            _add(table, title, rows)
            console.print(table)
        print_check(plan.check, console)
    console.print(f"measured by {plan.measured_by}", style="dim", highlight=False)


def print_check(checks: Sequence[Check], console: Console) -> None:
    """Prints how far the model is off at each size, when it knows the other sizes only."""
    table = Table(title="the model of the service, against rounds that it was not fitted on", title_justify="left")
    table.add_column("cohort", justify="right")
    table.add_column("what", no_wrap=True)
    for heading in ("measured", "predicted", "error"):
        table.add_column(heading, justify="right")
    for cohort, group in groupby(checks, key=lambda check: check.cohort):
        for check in group:
            figures = (f"{number(value)} {check.unit}" for value in (check.measured, check.predicted))
            table.add_row(f"{cohort:,}", check.quantity, *figures, f"{100 * check.error:+.0f} %")
        table.add_section()
    console.print(table)


def shown(row: Row) -> str:
    """A row's value as people read it.

    >>> shown(Row(name="", value=12345.6, unit="s", origin="derived", source=""))
    '12,300 s'
    """
    if isinstance(row.value, bool) or row.value is None:
        return {True: "yes", False: "no", None: "none"}[row.value]
    if isinstance(row.value, str):
        return row.value
    text = f"{row.value:,}" if isinstance(row.value, int) else _figure(row.value)
    return f"{text} {row.unit}".strip()


def _figure(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else number(value)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("is")
    table.add_column("from")
    return table


def _add(table: Table, chapter: str, rows: Sequence[Row]) -> None:
    table.add_row(f"[bold]{chapter}[/bold]")
    for row in rows:
        table.add_row(f"  {row.name}", shown(row), row.origin, row.source)
    table.add_section()
