"""`keychorus device`: the daemon that learns, the page that suggests, and what a person may see of both."""

import logging
import sqlite3
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.agent import Agent, Enrolment
from device_runtime.agent_state import DamagedState, StateFile
from device_runtime.client import InsecureAddress
from device_runtime.conditions import AlwaysEligible, NeverEligible
from device_runtime.environment import DeviceEnvironment
from device_runtime.outcome import Outcome
from device_runtime.release import PUBLIC_KEY_FILE, IncompleteRelease, Release, open_release, read_public_key
from device_runtime.runtime import InvalidModel, RuntimeMissing
from device_runtime.spool import clear_spools
from device_runtime.storage import AlreadyRunning, UnusableKey, only_process, private_directory
from device_runtime.typing_log import TypingLog
from protocol.errors import ProtocolError
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

DEFAULT_RELEASE = Path("reports/demo/release")
_LONGEST_SLEEP_S = 60.0
_SHORTEST_SLEEP_S = 0.05
_SHOWN_ERRORS = (
    AlreadyRunning,
    DamagedState,
    IncompleteRelease,
    InsecureAddress,
    InvalidModel,
    InvalidVocabulary,
    ProtocolError,
    RuntimeMissing,
    UnusableKey,
    sqlite3.Error,
)

_logger = logging.getLogger(__name__)

_data_directory = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".local" / "share" / "keychorus",
    envvar="KEYCHORUS_DATA_DIR",
    show_default="~/.local/share/keychorus",
    help="Where the device keeps its log, its state and its downloads.",
)


def _examples(*lines: str) -> str:
    """An epilog that click leaves unwrapped."""
    indented = "\n".join(lines).replace("\n", "\n  ")
    return f"\b\nExamples:\n  {indented}"


@click.group(
    epilog=_examples(
        "keychorus device keyboard",
        "keychorus device log consent on",
        "keychorus device run --service https://keys.example.org --population english --public-key enrolment.txt",
    )
)
def device() -> None:
    """Learn on this machine, and suggest words while typing."""


@device.command(
    epilog=_examples(
        "keychorus device run --service http://127.0.0.1:8400 --population demo \\\n"
        "    --public-key reports/demo/release/public_key.txt --always-eligible"
    )
)
@click.option("--service", required=True, help="Address of the aggregation service; https, or http to this machine.")
@click.option("--population", required=True, help="The population to join.")
@click.option("--public-key", type=click.Path(path_type=Path), required=True, help="File with the key to trust.")
@click.option(
    "--release",
    type=click.Path(path_type=Path),
    help="Installed release; its vocabulary serves where the service names none.",
)
@click.option("--always-eligible", is_flag=True, help="Train now, whatever battery, network and user are doing.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many steps; otherwise run until stopped.")
@_data_directory
def run(
    *,
    service: str,
    population: str,
    public_key: Path,
    release: Path | None,
    always_eligible: bool,
    steps: int | None,
    data_dir: Path,
) -> None:
    """Take part in rounds: train on the typing log and report updates.

    Conditions of this machine are not read yet: without --always-eligible nothing is ever trained.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    with _one_sentence_errors():
        key = read_public_key(public_key)
        enrolment = Enrolment(service_url=service, population=population, public_key=key)
        conditions = AlwaysEligible() if always_eligible else NeverEligible()
        environment = DeviceEnvironment(data_directory=private_directory(data_dir), conditions=conditions)
        with only_process(data_dir / "agent.lock"), _open_log(data_dir) as log:
            _drive(Agent(environment, enrolment, log, _installed_vocabulary(release, key)), steps)


def _drive(agent: Agent, steps: int | None) -> None:
    """Steps the agent for ever, or `steps` times. Sleeps are short, since the clock may jump while it sleeps."""
    taken = 0
    while steps is None or taken < steps:
        outcome = agent.step()
        taken += 1
        _logger.info("%s", describe(outcome))
        if steps is None or taken < steps:
            time.sleep(min(max(outcome.next_step_in_s, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))


def describe(outcome: Outcome) -> str:
    """One line for the program's log: the event, why, and numbers.

    >>> from device_runtime.outcome import Event
    >>> describe(Outcome(event=Event.TRAINED, numbers={"steps": 3, "last_loss": 4.5}, bytes_down=10))
    'trained steps=3 last_loss=4.5 bytes_down=10'
    """
    numbers = dict(outcome.numbers) | {"bytes_up": outcome.bytes_up, "bytes_down": outcome.bytes_down}
    shown = [f"{name}={value:g}" for name, value in numbers.items() if value]
    waits = [f"next_in={outcome.next_step_in_s:.0f}s"] if outcome.next_step_in_s else []
    reason = [f"({outcome.reason})"] if outcome.reason else []
    return " ".join([outcome.event.value, *reason, *shown, *waits])


@device.command(
    epilog=_examples("keychorus device keyboard", "keychorus device keyboard --release ~/releases/english --no-open")
)
@click.option(
    "--release",
    "folder",
    type=click.Path(path_type=Path),
    default=DEFAULT_RELEASE,
    show_default=True,
    help="Folder of the release to suggest with.",
)
@click.option("--public-key", type=click.Path(path_type=Path), help="File with the key to trust.  [default: its own]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in the browser.")
def keyboard(*, folder: Path, public_key: Path | None, port: int, open_browser: bool) -> None:
    """Open a local page with a text field and three suggestions.

    Nothing typed there leaves this machine, and nothing is logged. Ctrl+C ends it.
    """
    from device_runtime.keyboard.app import create_keyboard_app, new_token
    from device_runtime.keyboard.server import HOST, bind_keyboard

    with _one_sentence_errors():
        release = _open_release(folder, public_key)
        token = new_token()
        app = create_keyboard_app(release.predictor(), token, model_version=release.manifest.model_version)
        server = bind_keyboard(app, port)
    address = f"http://{HOST}:{server.server_port}/{token}/"
    click.echo(f"Keychorus suggests at {address}\nOnly this machine can open it. Press Ctrl+C to end.")
    if open_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo()
    finally:
        server.server_close()


@device.command()
@click.option("--population", required=True, help="The population the device takes part in.")
@_data_directory
def status(*, population: str, data_dir: Path) -> None:
    """Show where the device is in its rounds, and what its log holds."""
    with _one_sentence_errors():
        state = StateFile(data_dir / population / "agent.json").load()
        now = time.time()
        click.echo(f"phase              {type(state.phase).__name__.lower()}")
        click.echo(f"rounds reported    {state.rounds_reported}")
        click.echo(f"newest model       {state.newest_model_version}")
        click.echo(f"next check-in in   {max(state.pause.remaining_s(now), state.separation.remaining_s(now)):.0f} s")
        _show_log(data_dir)


@device.group(
    epilog=_examples("keychorus device log status", "keychorus device log consent on", "keychorus device log wipe")
)
def log() -> None:
    """See and rule the typing log."""


@log.command("status")
@_data_directory
def log_status(*, data_dir: Path) -> None:
    """Show how much the log holds, in numbers."""
    with _one_sentence_errors():
        _show_log(data_dir)


@log.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@_data_directory
def consent(*, switch: str, data_dir: Path) -> None:
    """Switch logging on or off. It is off until switched on; what is logged stays until it expires or is wiped."""
    with _one_sentence_errors(), _open_log(data_dir) as typing_log:
        typing_log.consent = switch == "on"
        click.echo(f"Logging is {switch}.")


@log.command(
    "add", epilog=_examples("keychorus device log add messages.txt", "keychorus device log add - < messages.txt")
)
@click.argument("file", type=click.File(encoding="utf-8", errors="replace"))
@_data_directory
def log_add(*, file: TextIO, data_dir: Path) -> None:
    """Log the messages in FILE, one a line; - is standard input. Nothing else writes the log in this version.

    Mail addresses, links and longer numbers are replaced by placeholders; lines without a word are left out.
    """
    with _one_sentence_errors(), _open_log(data_dir) as typing_log:
        if not typing_log.consent:
            raise click.ClickException("logging is off; `keychorus device log consent on` switches it on")
        now = time.time()
        stored = typing_log.extend((line, "keychorus-log-add", now) for line in file)
        click.echo(f"Logged {stored} messages.")


@log.command()
@click.confirmation_option(prompt="Delete everything the typing log holds?")
@_data_directory
def wipe(*, data_dir: Path) -> None:
    """Delete everything the log holds, for good, and an update that was trained on it and waits to be sent."""
    with _one_sentence_errors(), _open_log(data_dir) as typing_log:
        held = typing_log.counts().messages
        typing_log.wipe()
        clear_spools(data_dir)
        click.echo(f"Deleted {held} messages.")


def _show_log(data_dir: Path) -> None:
    with _open_log(data_dir) as typing_log:
        counts = typing_log.counts()
        click.echo(f"logging            {'on' if typing_log.consent else 'off'}")
        click.echo(f"messages held      {counts.messages}")
        click.echo(f"words held         {counts.words}")
        if counts.oldest_at is not None:
            click.echo(f"oldest from        {datetime.fromtimestamp(counts.oldest_at, UTC):%Y-%m-%d %H:%M} UTC")


def _open_log(data_dir: Path) -> TypingLog:
    return TypingLog(data_dir / "typing_log.sqlite")


def _installed_vocabulary(release: Path | None, key: Ed25519PublicKey) -> Vocabulary | None:
    return None if release is None else Vocabulary(open_release(release, key).vocabulary)


def _open_release(folder: Path, public_key: Path | None) -> Release:
    try:
        return open_release(folder, read_public_key(public_key or folder / PUBLIC_KEY_FILE))
    except IncompleteRelease as error:
        raise click.ClickException(f"{error}; `keychorus demo` makes a release in {DEFAULT_RELEASE}") from None


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    """What a person can do something about is told in one sentence, without a traceback."""
    try:
        yield
    except _SHOWN_ERRORS as error:
        raise click.ClickException(str(error)) from None
    except UnicodeDecodeError as error:
        raise click.ClickException(f"a file must be {error.encoding} text, got other bytes") from None
    except OSError as error:
        raise click.ClickException(f"{error.strerror}: {error.filename}" if error.filename else str(error)) from None
