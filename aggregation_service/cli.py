"""`keychorus service`: what an operator types."""

import os
from pathlib import Path
from typing import cast

import click

from aggregation_service import operations
from aggregation_service.audit import machine_actor
from aggregation_service.commands.backup import backup, restore
from aggregation_service.commands.budget import budget
from aggregation_service.commands.devices import device, token
from aggregation_service.commands.operators import audit, key, operator
from aggregation_service.commands.population import population
from aggregation_service.commands.release import release, rollback
from aggregation_service.commands.shared import FOLDER, clear_errors, config_option, database_url_option
from aggregation_service.commands.status import status
from aggregation_service.commands.tasks import task
from aggregation_service.commands.words import words
from aggregation_service.config import load_config, load_session_key
from aggregation_service.logs import LogFormat, log_to_stderr


@click.group()
def service() -> None:
    """Run the aggregation service and tell it what to train."""


_KEEPING = (audit, backup, key, operator, restore)
_TRAINING = (budget, device, population, release, rollback, status, task, token, words)
for command in (*_KEEPING, *_TRAINING):
    service.add_command(command)


@service.command()
@click.argument("folder", type=FOLDER, default=Path("service"))
@click.option("--clock", "clock_path", type=click.Path(dir_okay=False, path_type=Path), help="File of virtual time.")
@click.option("--delta", default=1e-10, show_default=True, help="The delta at which epsilon is told.")
@database_url_option
def init(folder: Path, clock_path: Path | None, delta: float, database_url: str | None) -> None:
    """Make a service: configuration, signing key, database.

    \b
    Examples:
      keychorus service init /srv/keychorus
      keychorus service init /srv/keychorus --database-url postgresql://keychorus@db.example.org/keychorus
    """
    with clear_errors():
        paths = operations.initialise(folder, clock_path=clock_path, privacy_delta=delta, database_url=database_url)
    click.echo(
        f"configuration  {paths.config_path}\nsigning key    {paths.signing_key_path} (keep it, and keep it secret)"
    )
    click.echo(f"session key    {paths.session_key_path} (signs operators' sessions; keep it secret too)")
    click.echo(f"public key     {paths.public_key_path} (devices are enrolled with it)")


@service.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 takes a free one and logs it.")
@click.option("--workers", default=2, show_default=True, help="Processes; one where the clock is a file.")
@click.option("--threads", default=12, show_default=True, help="Requests served at once in each.")
@config_option
def run(host: str, port: int, workers: int, threads: int, config_path: Path) -> None:
    """Serve, by gunicorn, until stopped; migrates the database first.

    \b
    Example:
      keychorus service run --config /srv/keychorus/service.toml --port 8080
    """
    with clear_errors():
        config = load_config(config_path)
        operations.public_key(config)  # refuses here, in one sentence, rather than in a worker's trace
        load_session_key(config.session_key_path)
        log_to_stderr(cast(LogFormat, config.log_format))  # checked when the configuration was read
        operations.prepare_database(config, machine_actor())
    command = operations.gunicorn_command(
        host=host, port=port, threads=threads, workers=workers if config.clock_path is None else 1
    )
    os.execve(command[0], command, operations.server_environment(config_path))  # noqa: S606  # no shell, no user input but host, port and threads
