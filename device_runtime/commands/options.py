"""What the commands of `keychorus device` share: the data directory, the log in it, and errors of one sentence."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from device_runtime.network.address import InsecureAddress
from device_runtime.releases.release import PUBLIC_KEY_FILE, IncompleteRelease, Release, open_release, read_public_key
from device_runtime.rounds.agent_state import DamagedState
from device_runtime.runtime import InvalidModel, RuntimeMissing
from device_runtime.storage.files import AlreadyRunning, UnusableKey
from device_runtime.storage.keys import KeyPlace, KeyStore, key_store
from device_runtime.suggestions.blocked import InvalidBlockList
from device_runtime.typing_log import TypingLog
from protocol.errors import ProtocolError
from protocol.plan import PrivacyPromise
from tokenizer.vocabulary import InvalidVocabulary

DEFAULT_RELEASE = Path("reports/demo/release")
KEY_STORE_VARIABLE = "KEYCHORUS_KEY_STORE"
DEFAULT_MAX_DELTA = 1e-6
_SHOWN_ERRORS = (
    AlreadyRunning,
    DamagedState,
    IncompleteRelease,
    InsecureAddress,
    InvalidBlockList,
    InvalidModel,
    InvalidVocabulary,
    ProtocolError,
    RuntimeMissing,
    UnusableKey,
    sqlite3.Error,
)

data_directory = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".local" / "share" / "keychorus",
    envvar="KEYCHORUS_DATA_DIR",
    show_default="~/.local/share/keychorus",
    help="Where the device keeps its log, its state and its downloads.",
)


def weakest_promise(max_epsilon: float | None, max_delta: float | None) -> PrivacyPromise | None:
    """What `--max-epsilon` and `--max-delta` say together; None where the owner asks for no bound.

    Raises:
      click.UsageError: a number out of its bound, or a delta without epsilon, which bounds nothing.

    """
    if max_epsilon is None:
        if max_delta is not None:
            raise click.UsageError("--max-delta goes with --max-epsilon: alone it bounds nothing")
        return None
    wish = {"max_epsilon": max_epsilon, "delta": DEFAULT_MAX_DELTA if max_delta is None else max_delta}
    try:
        return msgspec.convert(wish, PrivacyPromise)
    except msgspec.ValidationError:
        told = f"got {max_epsilon:g} and {wish['delta']:g}"
        raise click.UsageError(f"--max-epsilon must be > 0 and <= 1000, --max-delta > 0 and < 1, {told}") from None


def examples(*lines: str) -> str:
    """An epilog that click leaves unwrapped."""
    indented = "\n".join(lines).replace("\n", "\n  ")
    return f"\b\nExamples:\n  {indented}"


def log_path(data_dir: Path) -> Path:
    """Where the typing log of a data directory lies."""
    return data_dir / "typing_log.sqlite"


def chosen_key_store(data_dir: Path, place: KeyPlace | None = None) -> KeyStore | None:
    """Where the key of the log is to be kept; None for where the log says.

    Args:
      data_dir: the data directory.
      place: what the person chose for this command; None for what `KEYCHORUS_KEY_STORE` says, if anything.

    Raises:
      UnusableKey: the variable names no place.

    """
    if place is None and (named := os.environ.get(KEY_STORE_VARIABLE)):
        if named not in tuple(KeyPlace):
            raise UnusableKey(f"{KEY_STORE_VARIABLE} must be one of {', '.join(KeyPlace)}, got {named}")
        place = KeyPlace(named)
    return None if place is None else key_store(place, log_path(data_dir))


def open_log(data_dir: Path, place: KeyPlace | None = None) -> TypingLog:
    """The typing log of a data directory; `place` as for `chosen_key_store`."""
    return TypingLog(log_path(data_dir), key_store=chosen_key_store(data_dir, place))


def open_chosen_release(folder: Path, public_key: Path | None) -> Release:
    """A release folder, by the key given or its own.

    Raises:
      click.ClickException: the folder holds no release.

    """
    try:
        return open_release(folder, read_public_key(public_key or folder / PUBLIC_KEY_FILE))
    except IncompleteRelease as error:
        raise click.ClickException(f"{error}; `keychorus demo` makes a release in {DEFAULT_RELEASE}") from None


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """What a person can do something about is told in one sentence, without a traceback."""
    try:
        yield
    except _SHOWN_ERRORS as error:
        raise click.ClickException(str(error)) from None
    except UnicodeDecodeError as error:
        raise click.ClickException(f"a file must be {error.encoding} text, got other bytes") from None
    except OSError as error:
        raise click.ClickException(f"{error.strerror}: {error.filename}" if error.filename else str(error)) from None
