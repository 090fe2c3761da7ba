"""`keychorus service token` and `keychorus service device`: who may take part."""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.shared import NUMBER, clear_errors, config_option
from aggregation_service.config import load_config

_population = click.argument("population_name", metavar="POPULATION")


@click.group()
def token() -> None:
    """Enrolment tokens: rights to join a population, for some devices and some days."""


@token.command("create")
@_population
@click.option("--uses", default=1, show_default=True, help="How many devices it may enrol.")
@click.option("--days", default=7.0, show_default=True, help="After how many days it is void.")
@config_option
def create(population_name: str, uses: int, days: float, config_path: Path) -> None:
    """Make a token and print it, this once: the service keeps its hash only.

    Devices give it by `keychorus device run --enrolment-token`.

    \b
    Example:
      keychorus service token create en-gb --uses 100 --days 7
    """
    with clear_errors():
        made = operations.create_enrolment_token(load_config(config_path), population_name, uses=uses, days=days)
    click.echo(f"token {made.id} enrols {uses} devices in {population_name} until {_day(made.expires_at)}:", err=True)
    click.echo(made.token)


@token.command("list")
@_population
@config_option
def list_tokens(population_name: str, config_path: Path) -> None:
    """Show a population's tokens by number, never the tokens themselves.

    \b
    Example:
      keychorus service token list en-gb
    """
    with clear_errors():
        known = operations.list_enrolment_tokens(load_config(config_path), population_name)
    table = Table(title=f"enrolment tokens of {population_name}")
    for heading in ("token", "uses left", "until", "made by"):
        table.add_column(heading)
    for entry in known:
        table.add_row(str(entry.id), str(entry.uses_left), _day(entry.expires_at), entry.created_by)
    Console().print(table)


@token.command("revoke")
@_population
@click.argument("token_id", metavar="TOKEN_NUMBER", type=NUMBER)
@config_option
def revoke_token(population_name: str, token_id: int, config_path: Path) -> None:
    """Take the uses that a token has left; devices that it enrolled stay.

    \b
    Example:
      keychorus service token revoke en-gb 3
    """
    with clear_errors():
        operations.revoke_enrolment_token(load_config(config_path), population_name, token_id)
    click.echo(f"token {token_id} of {population_name} enrols nobody any more")


@click.group()
def device() -> None:
    """Enrolled devices, by the keys that sign their requests."""


@device.command("list")
@_population
@click.option("--ids", is_flag=True, help="Print each device's id and state, and no counts.")
@config_option
def list_devices(population_name: str, ids: bool, config_path: Path) -> None:
    """Count a population's devices by state.

    \b
    Example:
      keychorus service device list en-gb
    """
    with clear_errors():
        config = load_config(config_path)
        if ids:
            for device_id, revoked in operations.list_devices(config, population_name):
                click.echo(f"{device_id} {'revoked' if revoked else 'enrolled'}")
            return
        for state, number in operations.count_devices(config, population_name).items():
            click.echo(f"{state:<10} {number}")


@device.command("revoke")
@_population
@click.argument("device_id")
@config_option
def revoke_device(population_name: str, device_id: str, config_path: Path) -> None:
    """Refuse a device from now on, for good; what it reported before stays in the sums.

    \b
    Example:
      keychorus service device revoke en-gb 00112233445566778899aabbccddeeff
    """
    with clear_errors():
        operations.revoke_device(load_config(config_path), population_name, device_id)
    click.echo(f"the device takes no part in {population_name} any more")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
