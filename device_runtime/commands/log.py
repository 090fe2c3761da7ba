"""`keychorus device log`: a person sees and rules the typing log."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from device_runtime.commands.options import data_directory, examples, one_sentence_errors, open_log
from device_runtime.spool import clear_spools


@click.group(
    epilog=examples("keychorus device log status", "keychorus device log consent on", "keychorus device log wipe")
)
def log() -> None:
    """See and rule the typing log."""


@log.command("status")
@data_directory
def log_status(*, data_dir: Path) -> None:
    """Show how much the log holds, in numbers."""
    with one_sentence_errors():
        show_log(data_dir)


@log.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@data_directory
def consent(*, switch: str, data_dir: Path) -> None:
    """Switch logging on or off. It is off until switched on; what is logged stays until it expires or is wiped."""
    with one_sentence_errors(), open_log(data_dir) as typing_log:
        typing_log.consent = switch == "on"
        click.echo(f"Logging is {switch}.")


@log.command(
    "add", epilog=examples("keychorus device log add messages.txt", "keychorus device log add - < messages.txt")
)
@click.argument("file", type=click.File(encoding="utf-8", errors="replace"))
@data_directory
def log_add(*, file: TextIO, data_dir: Path) -> None:
    """Log the messages in FILE, one a line; - is standard input. Nothing else writes the log in this version.

    Mail addresses, links and longer numbers are replaced by placeholders; lines without a word are left out.
    """
    with one_sentence_errors(), open_log(data_dir) as typing_log:
        if not typing_log.consent:
            raise click.ClickException("logging is off; `keychorus device log consent on` switches it on")
        now = time.time()
        stored = typing_log.extend((line, "keychorus-log-add", now) for line in file)
        click.echo(f"Logged {stored} messages.")


@log.command()
@click.confirmation_option(prompt="Delete everything the typing log holds?")
@data_directory
def wipe(*, data_dir: Path) -> None:
    """Delete everything the log holds, for good, and an update that was trained on it and waits to be sent."""
    with one_sentence_errors(), open_log(data_dir) as typing_log:
        held = typing_log.counts().messages
        typing_log.wipe()
        clear_spools(data_dir)
        click.echo(f"Deleted {held} messages.")


def show_log(data_dir: Path) -> None:
    """Prints what the log holds, in numbers."""
    with open_log(data_dir) as typing_log:
        counts = typing_log.counts()
        click.echo(f"logging            {'on' if typing_log.consent else 'off'}")
        click.echo(f"messages held      {counts.messages}")
        click.echo(f"words held         {counts.words}")
        if counts.oldest_at is not None:
            click.echo(f"oldest from        {datetime.fromtimestamp(counts.oldest_at, UTC):%Y-%m-%d %H:%M} UTC")
