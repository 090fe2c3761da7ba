"""`keychorus service operator`, `audit` and `key`: who may log in, what they did, and what sessions are signed with."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from aggregation_service import audit as audit_log
from aggregation_service import operations
from aggregation_service.commands.shared import clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations.shared import opened
from aggregation_service.operators import accounts
from aggregation_service.operators.accounts import Role
from aggregation_service.service import clock_of

_stdin_option = click.option("--password-stdin", is_flag=True, help="Read the password's line from standard input.")


@click.group()
def operator() -> None:
    """Operators: who may log in to the dashboard and the admin API."""


@operator.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="A viewer sees all, an operator changes it.",
)
@_stdin_option
@config_option
def operator_add(name: str, role: str, password_stdin: bool, config_path: Path) -> None:
    """Add an operator; asks for the password, of at least 12 characters.

    \b
    Example:
      keychorus service operator add ada --role operator
    """
    with clear_errors():
        config = load_config(config_path)
        password, now = _read_password(password_stdin), clock_of(config).now()
        with opened(config) as database, database.write() as connection:
            accounts.add_operator(
                connection, name, password=password, role=Role(role), actor=audit_log.machine_actor(), now=now
            )
    click.echo(f"added {role} {name}")


@operator.command("list")
@config_option
def operator_list(config_path: Path) -> None:
    """List all operators.

    \b
    Example:
      keychorus service operator list
    """
    with clear_errors(), opened(load_config(config_path)) as database, database.read() as connection:
        found = accounts.list_operators(connection)
    for one in found:
        click.echo(f"{one.name}  {one.role}{'  disabled' if one.disabled else ''}")


@operator.command("disable")
@click.argument("name")
@config_option
def operator_disable(name: str, config_path: Path) -> None:
    """Disable an operator, whose open sessions end at once.

    \b
    Example:
      keychorus service operator disable ada
    """
    with clear_errors():
        config = load_config(config_path)
        with opened(config) as database, database.write() as connection:
            accounts.disable(connection, name, actor=audit_log.machine_actor(), now=clock_of(config).now())
    click.echo(f"disabled {name}")


@operator.command("enable")
@click.argument("name")
@config_option
def operator_enable(name: str, config_path: Path) -> None:
    """Let a disabled operator log in again.

    \b
    Example:
      keychorus service operator enable ada
    """
    with clear_errors():
        config = load_config(config_path)
        with opened(config) as database, database.write() as connection:
            accounts.enable(connection, name, actor=audit_log.machine_actor(), now=clock_of(config).now())
    click.echo(f"enabled {name}")


@operator.command("password")
@click.argument("name")
@_stdin_option
@config_option
def operator_password(name: str, password_stdin: bool, config_path: Path) -> None:
    """Give an operator another password, which ends their sessions.

    \b
    Example:
      keychorus service operator password ada
    """
    with clear_errors():
        config = load_config(config_path)
        password, now = _read_password(password_stdin), clock_of(config).now()
        with opened(config) as database, database.write() as connection:
            accounts.set_password(connection, name, password=password, actor=audit_log.machine_actor(), now=now)
    click.echo(f"{name} has a new password")


@click.group()
def audit() -> None:
    """The audit log: who did what, in a chain that shows every change to it."""


@audit.command("show")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Newest entries to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object an entry.")
@config_option
def audit_show(limit: int, as_json: bool, config_path: Path) -> None:
    """Show the newest entries, and the head: keep it elsewhere, and tell it to `audit verify` later.

    \b
    Example:
      keychorus service audit show --limit 50
    """
    with clear_errors(), opened(load_config(config_path)) as database, database.read() as connection:
        entries, head = audit_log.list_entries(connection, limit=limit), audit_log.head(connection)
    if as_json:
        for entry in entries:
            click.echo(msgspec.json.encode(entry))
        return
    table = Table("id", "time (UTC)", "who", "what", "whom or what", "details")
    for entry in entries:
        time = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        details = msgspec.json.encode(entry.details).decode()
        table.add_row(str(entry.id), time, entry.actor, entry.action, entry.subject, details)
    Console().print(table)
    click.echo(f"head {head}")


@audit.command("verify")
@click.option("--head", help="A head that `audit show` printed once: shows whether entries were cut off since.")
@config_option
def audit_verify(head: str | None, config_path: Path) -> None:
    """Check the whole log, and fail if an entry was changed, deleted, moved, inserted or cut off.

    \b
    Example:
      keychorus service audit verify --head 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    with clear_errors(), opened(load_config(config_path)) as database, database.read() as connection:
        try:
            count = audit_log.verify(connection, head)
        except audit_log.BrokenChain as error:
            raise click.ClickException(str(error)) from None
        newest = audit_log.head(connection)
    click.echo(f"{count} entries, none changed\nhead {newest}")


@click.group()
def key() -> None:
    """The keys beside the configuration."""


@key.command("session")
@click.option("--replace", is_flag=True, help="Replace the key that is there; all operators must log in again.")
@config_option
def key_session(replace: bool, config_path: Path) -> None:
    """Make the key that operators' sessions are signed with, where there is none yet.

    `init` makes one too. Restart the service after a replacement; several hosts need the same file.

    \b
    Example:
      keychorus service key session
    """
    with clear_errors():
        path = operations.make_session_key(load_config(config_path), replace=replace, actor=audit_log.machine_actor())
    click.echo(f"session key    {path}")


def _read_password(from_stdin: bool) -> str:
    """Never from an argument: those are in the shell's history, and others on the machine see them."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
