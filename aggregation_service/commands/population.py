"""`keychorus service population`: who trains together, and by which policy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click
import msgspec

from aggregation_service import operations
from aggregation_service.commands.shared import clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.policy import PopulationPolicy

_F = TypeVar("_F", bound=Callable[..., Any])
_ENROLMENTS = get_args(get_type_hints(PopulationPolicy)["enrolment"])
_NONE = "none"


class _NumberOrNone(click.ParamType[Any]):
    """A number, or the word `none`, which stays itself: None is an option that was not given."""

    name = "number|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == _NONE:
            return _NONE
        number = float(click.FLOAT(value, param, ctx))
        return int(number) if number.is_integer() else number


def _policy_options(command: _F) -> _F:
    for option in (
        click.option("--keep-checkpoints", type=_NumberOrNone(), help="See `population policy`."),
        click.option("--gate-standard-errors", type=click.FloatRange(0, 10), help="See `population policy`."),
        click.option("--gate-margin", type=_NumberOrNone(), help="See `population policy`."),
        click.option("--epsilon-budget", type=_NumberOrNone(), help="See `population policy`."),
        click.option("--enrolment", type=click.Choice(_ENROLMENTS), help="See `population policy`."),
    ):
        command = option(command)
    return command


@click.group()
def population() -> None:
    """Populations: devices that share a vocabulary and a model."""


@population.command("add")
@click.argument("name")
@_policy_options
@config_option
def population_add(name: str, config_path: Path, **options: object) -> None:
    """Add a population; without options its devices enrol with a token, and no budget stops its training.

    \b
    Example:
      keychorus service population add en-gb --epsilon-budget 8
    """
    with clear_errors():
        operations.add_population(load_config(config_path), name, _changed(PopulationPolicy(), options))
    click.echo(f"added population {name}")


@population.command("list")
@config_option
def population_list(config_path: Path) -> None:
    """List all populations with their policies.

    \b
    Example:
      keychorus service population list
    """
    with clear_errors():
        config = load_config(config_path)
        policies = {name: operations.get_policy(config, name) for name in operations.list_populations(config)}
    for name, policy in policies.items():
        click.echo(f"{name}  {_told(policy)}")


@population.command("policy")
@click.argument("name")
@_policy_options
@config_option
def population_policy(name: str, config_path: Path, **options: object) -> None:
    """Show a population's policy, or change what options name.

    \b
    --enrolment             what a device must show to be enrolled
    --epsilon-budget        training stops before the round that would exceed it; none: no bound
    --gate-margin           top-1 recall by which a candidate must beat the current release to be released,
                            0.001 is a tenth of a point; none: an operator decides
    --gate-standard-errors  by so many standard errors of the noise more than that: 1.645 lets noise alone
                            through once in 20 times; 0: as if there were no noise
    --keep-checkpoints      newest model versions to keep, beside those of releases; none: all

    \b
    Example:
      keychorus service population policy en-gb --enrolment token --epsilon-budget 8 --gate-margin none
    """
    with clear_errors():
        config = load_config(config_path)
        policy = _changed(operations.get_policy(config, name), options)
        operations.set_policy(config, name, policy)
    click.echo(f"{name}  {_told(policy)}")


def _changed(policy: PopulationPolicy, options: dict[str, object]) -> PopulationPolicy:
    given = {name: None if value == _NONE else value for name, value in options.items() if value is not None}
    return msgspec.convert(msgspec.to_builtins(policy) | given, PopulationPolicy)


def _told(policy: PopulationPolicy) -> str:
    values: dict[str, object] = msgspec.to_builtins(policy)
    return "  ".join(f"{name} {_NONE if value is None else value}" for name, value in values.items())
