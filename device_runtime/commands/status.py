"""`keychorus device status`: where the device is in its rounds."""

import time
from pathlib import Path

import click

from device_runtime.commands.log_report import show_log
from device_runtime.commands.options import data_directory, one_sentence_errors
from device_runtime.rounds.agent_state import StateFile

_ENROLMENT = {
    "not_yet": "not yet; the service is asked before the first check-in",
    "enrolled": "enrolled; requests are signed with this device's key",
    "refused": "refused; does the service need its operator's token? (device run --enrolment-token)",
    "revoked": "revoked by the service's operator",
}


@click.command()
@click.option("--population", required=True, help="The population the device takes part in.")
@data_directory
def status(*, population: str, data_dir: Path) -> None:
    """Show where the device is in its rounds, and what its log holds."""
    with one_sentence_errors():
        state = StateFile(data_dir / population / "agent.json").load()
        now = time.time()
        click.echo(f"phase              {type(state.phase).__name__.lower()}")
        click.echo(f"enrolment          {_ENROLMENT[state.enrolment]}")
        click.echo(f"rounds reported    {state.rounds_reported}")
        click.echo(f"newest model       {state.newest_model_version}")
        click.echo(f"next check-in in   {max(state.pause.remaining_s(now), state.separation.remaining_s(now)):.0f} s")
        show_log(data_dir)
