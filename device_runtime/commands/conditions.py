"""`keychorus device conditions`: what holds, what does not, and why."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from device_runtime.commands.options import data_directory, examples, one_sentence_errors
from device_runtime.conditions.choice import NAMES, SCRIPT, UnknownSource, open_conditions
from device_runtime.conditions.interface import CONDITIONS, Conditions, ConditionsSource
from device_runtime.conditions.scripted import InvalidScript
from device_runtime.conditions.thresholds import InvalidSettings, Network, load_thresholds

NOT_ELIGIBLE_EXIT_CODE = 3

Command = Callable[..., None]

_OPTIONS = (
    click.option(
        "--conditions",
        "source",
        default="auto",
        show_default=True,
        help=f"Where conditions are read from: {', '.join(NAMES)} or {SCRIPT}FILE.",
    ),
    click.option("--minimum-battery-percent", type=float, help="Charge below which nothing is trained."),
    click.option("--idle-minutes", type=float, help="Minutes without a keystroke that count as idle."),
    click.option("--maximum-load", type=float, help="Load of other processes that still counts as idle."),
    click.option("--maximum-temperature-c", type=float, help="Limit for the hottest sensor; inf for none."),
    click.option("--maximum-battery-temperature-c", type=float, help="Limit for a phone's battery; inf for none."),
    click.option("--network", type=click.Choice(get_args(Network)), help="Your word, where the system cannot tell."),
)


def condition_options(command: Command) -> Command:
    """The options of `conditions_from`: the source, and thresholds that go before those of `device.toml`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def conditions_from(
    source: str, data_dir: Path, overrides: dict[str, Any], is_ending: Callable[[], bool] = lambda: False
) -> Iterator[ConditionsSource]:
    """Opens the source that the options of `condition_options` describe.

    Raises:
      click.ClickException: unknown source, unreadable script, or settings that are none.

    """
    try:
        with open_conditions(source, data_dir, load_thresholds(data_dir, overrides), is_ending) as opened:
            yield opened
    except (InvalidScript, InvalidSettings, UnknownSource) as error:
        raise click.ClickException(str(error)) from None


@click.command(
    epilog=examples(
        "keychorus device conditions",
        "keychorus device conditions --conditions adb --json",
        "keychorus device conditions --network unmetered --idle-minutes 1",
    )
)
@condition_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@data_directory
@click.pass_context
def conditions(context: click.Context, /, *, source: str, as_json: bool, data_dir: Path, **overrides: Any) -> None:
    """Show which conditions hold now, and why. Exits with 3 if the device may not train, with 0 if it may."""
    with one_sentence_errors(), conditions_from(source, data_dir, overrides) as opened:
        found = opened.read()
    click.echo(_as_json(found) if as_json else _as_table(found))
    context.exit(0 if found.eligible else NOT_ELIGIBLE_EXIT_CODE)


def _as_table(found: Conditions) -> str:
    rows = [(name, "yes" if getattr(found, name) else "no", found.why.get(name, "")) for name in CONDITIONS]
    lines = [f"{name:<12}{holds:<7}{why}".rstrip() for name, holds, why in [("condition", "holds", "why"), *rows]]
    return "\n".join(lines)


def _as_json(found: Conditions) -> str:
    readings = {name: {"holds": getattr(found, name), "why": found.why.get(name, "")} for name in CONDITIONS}
    return json.dumps({"eligible": found.eligible, "conditions": readings}, indent=2, ensure_ascii=False)
