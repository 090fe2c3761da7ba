"""`keychorus device log`: a person sees and rules the typing log."""

import io
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click
import msgspec

from device_runtime.commands.log_report import as_json, as_lines, read_report
from device_runtime.commands.options import (
    KEY_STORE_VARIABLE,
    chosen_key_store,
    data_directory,
    examples,
    log_path,
    one_sentence_errors,
    open_log,
)
from device_runtime.rounds.spool import clear_spools
from device_runtime.storage.files import write_atomically
from device_runtime.storage.keys import KeyPlace
from device_runtime.typing_log import Admission, FieldKind, Switches, wipe_log
from device_runtime.typing_log.admission import refusal

ADDED_BY = "keychorus-log-add"
"""The app that messages of `log add` are logged under."""

_HOW_TO_LOG = {
    Admission.NO_CONSENT: "logging is off; `keychorus device log consent on` switches it on",
    Admission.INCOGNITO: "incognito is on; `keychorus device log incognito off` switches it off",
    Admission.PAUSED: "logging is paused; `keychorus device log resume` goes on",
    Admission.DENIED_APP: f"{ADDED_BY} is on the deny list; `keychorus device log allow {ADDED_BY}` takes it off",
}
_Command = TypeVar("_Command", bound=Callable[..., Any])
_on_or_off = click.argument("switch", type=click.Choice(["on", "off"]))


def _which_log(command: _Command) -> _Command:
    """Options of every command here: whose log it is, and where its key is kept."""
    key_store = click.option(
        "--key-store",
        "place",
        type=click.Choice([place.value for place in KeyPlace]),
        callback=lambda _context, _option, value: None if value is None else KeyPlace(value),
        envvar=KEY_STORE_VARIABLE,
        help="Where the key is kept: a file, or the system's keyring. An empty log can change it.  [default: as it is]",
    )
    return data_directory(key_store(command))


@click.group(
    epilog=examples(
        "keychorus device log consent on",
        "keychorus device log status",
        "keychorus device log deny org.example.bank",
        "keychorus device log export --output mine.jsonl",
        "keychorus device log wipe --with-key",
    )
)
def log() -> None:
    """See and rule the typing log."""


@log.command("status")
@click.option("--json", "in_json", is_flag=True, help="Print one JSON object.")
@_which_log
def log_status(*, in_json: bool, data_dir: Path, place: KeyPlace | None) -> None:
    """Show what is held, when it expires, when it was trained on, and what was sent. Numbers only."""
    with one_sentence_errors():
        report = read_report(data_dir, place)
    for line in [as_json(report)] if in_json else as_lines(report):
        click.echo(line)


@log.command()
@_on_or_off
@_which_log
def consent(*, switch: str, data_dir: Path, place: KeyPlace | None) -> None:
    """Switch logging on or off. It is off until switched on; what is logged stays until it expires or is wiped."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.consent = switch == "on"
        click.echo(f"Logging is {switch}.")


@log.command()
@_which_log
def pause(*, data_dir: Path, place: KeyPlace | None) -> None:
    """Let logging rest until `resume`. What is held is still learnt from."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.paused = True
        click.echo("Logging is paused.")


@log.command()
@_which_log
def resume(*, data_dir: Path, place: KeyPlace | None) -> None:
    """Go on after `pause`."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.paused = False
        why_not = refusal(typing_log.switches, ADDED_BY, FieldKind.TEXT)
        told = "." if why_not in (None, Admission.DENIED_APP) else f", but {_HOW_TO_LOG[why_not]}."
        click.echo(f"Logging is not paused any more{told}")


@log.command()
@_on_or_off
@_which_log
def incognito(*, switch: str, data_dir: Path, place: KeyPlace | None) -> None:
    """Switch incognito mode on or off. While it is on nothing is logged."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.incognito = switch == "on"
        click.echo(f"Incognito is {switch}.")


@log.command()
@_on_or_off
@_which_log
def personal(*, switch: str, data_dir: Path, place: KeyPlace | None) -> None:
    """Switch suggestions of your own words on or off."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.personal = switch == "on"
        click.echo(f"Personal words are {switch}.")


@log.command(epilog=examples("keychorus device log deny org.example.bank org.example.dating"))
@click.argument("apps", nargs=-1, required=True)
@_which_log
def deny(*, apps: tuple[str, ...], data_dir: Path, place: KeyPlace | None) -> None:
    """Never log what is typed in APPS, whichever case their names are in. What is logged stays."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        typing_log.deny_list = typing_log.deny_list | frozenset(apps)
        click.echo(_told_denied(typing_log.deny_list))


@log.command(epilog=examples("keychorus device log allow org.example.bank"))
@click.argument("apps", nargs=-1, required=True)
@_which_log
def allow(*, apps: tuple[str, ...], data_dir: Path, place: KeyPlace | None) -> None:
    """Take APPS off the deny list."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        allowed = Switches(deny_list=frozenset(apps))
        typing_log.deny_list = frozenset(app for app in typing_log.deny_list if not allowed.denies(app))
        click.echo(_told_denied(typing_log.deny_list))


def _told_denied(apps: Iterable[str]) -> str:
    return f"Never logged: {', '.join(sorted(apps)) or 'no app'}."


@log.command(
    "add", epilog=examples("keychorus device log add messages.txt", "keychorus device log add - < messages.txt")
)
@click.argument("file", type=click.File(encoding="utf-8", errors="replace"))
@_which_log
def log_add(*, file: TextIO, data_dir: Path, place: KeyPlace | None) -> None:
    """Log the messages in FILE, one a line; - is standard input.

    Mail addresses, links and longer numbers are replaced by placeholders; lines without a word are left out.
    """
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        if why_not := refusal(typing_log.switches, ADDED_BY, FieldKind.TEXT):
            raise click.ClickException(_HOW_TO_LOG[why_not])
        now = time.time()
        stored = typing_log.extend((line.rstrip("\r\n"), ADDED_BY, now) for line in file)
        click.echo(f"Logged {stored} messages.")


@log.command(epilog=examples("keychorus device log export --output mine.jsonl", "keychorus device log export | less"))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, readable by you only.  [default: standard output]",
)
@_which_log
def export(*, output: Path | None, data_dir: Path, place: KeyPlace | None) -> None:
    """Write your own messages as JSON lines: they are your data. They are not encrypted there."""
    with one_sentence_errors(), open_log(data_dir, place) as typing_log:
        _refuse_what_others_can_read(output)
        lines = [msgspec.json.encode(message) + b"\n" for message in typing_log.export()]
        if output is None:
            click.echo(b"".join(lines), nl=False)
        else:
            write_atomically(output, b"".join(lines))
    click.echo(f"Exported {len(lines)} messages.", err=True)


def _refuse_what_others_can_read(output: Path | None) -> None:
    """A file that others could read gets nothing; terminals and pipes are the person's own business."""
    try:
        mode = (os.fstat(sys.stdout.fileno()) if output is None else output.stat()).st_mode
    except (FileNotFoundError, io.UnsupportedOperation):
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        name = "standard output" if output is None else str(output)
        raise click.ClickException(
            f"{name} is a file that others could read: its mode must be 0600, got {mode & 0o777:04o}; "
            "`--output` makes such a file"
        )


@log.command()
@click.option("--with-key", is_flag=True, help="Delete the key, too, so that no copy of the log can ever be read.")
@click.confirmation_option(prompt="Delete everything the typing log holds?")
@_which_log
def wipe(*, with_key: bool, data_dir: Path, place: KeyPlace | None) -> None:
    """Delete everything the log holds, for good, with what was learnt from it and an update that waits to be sent.

    Your switches stay, and so does the diary of what was sent, in numbers.
    """
    with one_sentence_errors():
        clear_spools(data_dir)
        deleted = wipe_log(log_path(data_dir), key_store=chosen_key_store(data_dir, place), with_key=with_key)
    click.echo(f"Deleted {deleted} messages{' and the key' if with_key else ''}.")
