"""`keychorus device keyboard`: the page that suggests."""

import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from device_runtime.commands.options import (
    DEFAULT_RELEASE,
    data_directory,
    examples,
    one_sentence_errors,
    open_chosen_release,
    open_log,
)
from device_runtime.releases.keeper import RELEASES, NoRelease, ReleaseKeeper
from device_runtime.releases.release import PUBLIC_KEY_FILE, Release, read_public_key
from device_runtime.suggestions.blocked import BlockList

if TYPE_CHECKING:  # the daemon's command line goes without Flask and its 9 MB
    from flask import Flask


@click.command(
    epilog=examples("keychorus device keyboard", "keychorus device keyboard --release ~/releases/english --no-open")
)
@click.option(
    "--release",
    "folder",
    type=click.Path(path_type=Path),
    show_default=f"the one this device keeps, else {DEFAULT_RELEASE}",
    help="Folder of the release to suggest with.",
)
@click.option("--population", help="Whose release to suggest with, where the device keeps several.")
@click.option("--public-key", type=click.Path(path_type=Path), help="File with the key to trust.  [default: its own]")
@click.option(
    "--blocked-words",
    type=click.Path(path_type=Path),
    help="File of words, one a line, that are never suggested; those that the release blocks never are either.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in the browser.")
@data_directory
def keyboard(
    *,
    folder: Path | None,
    population: str | None,
    public_key: Path | None,
    blocked_words: Path | None,
    port: int,
    open_browser: bool,
    data_dir: Path,
) -> None:
    """Open a local page with a text field and three suggestions.

    Nothing typed there leaves this machine. Messages that are sent there are logged if logging is switched on, which
    the page and `keychorus device log consent on` do. Ctrl+C ends it.
    """
    from device_runtime.keyboard.app import new_token
    from device_runtime.keyboard.server import HOST, bind_keyboard

    token = new_token()
    with one_sentence_errors():
        kept = None if folder else kept_release(data_dir, population, public_key)
        blocked = BlockList.read(blocked_words) if blocked_words else None
        release = kept or open_chosen_release(folder or DEFAULT_RELEASE, public_key)
    with _opened_page(release, blocked, data_dir, token) as app:
        with one_sentence_errors():
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


@contextmanager
def _opened_page(release: Release, blocked: BlockList | None, data_dir: Path, token: str) -> "Iterator[Flask]":
    """The page's app on the log and the diary of `data_dir`, which are closed at the end."""
    from device_runtime.diary import DIARY_FILE, Diary
    from device_runtime.keyboard.app import create_keyboard_app
    from device_runtime.keyboard.device import KeyboardDevice
    from device_runtime.keyboard.privacy import privacy_line
    from device_runtime.keyboard.tuning import TunedPersonal
    from device_runtime.suggestions.personal import PersonalModel

    with one_sentence_errors():
        log = open_log(data_dir)
    with log, Diary(data_dir / DIARY_FILE) as diary:
        personal = PersonalModel(log)
        with one_sentence_errors(), TunedPersonal(personal, log, release.model) as tuned:
            device = KeyboardDevice(
                data_directory=data_dir,
                log=log,
                diary=diary,
                predictor=release.predictor(personal=personal, blocked=blocked),
                personal=tuned,
                model_version=release.manifest.model_version,
                privacy=privacy_line(release.privacy_statement),
                population=release.manifest.population,
            )
            yield create_keyboard_app(device, token)


def kept_release(data_dir: Path, population: str | None, public_key: Path | None) -> Release | None:
    """The release that this device keeps up to date; None if it keeps none.

    Args:
      data_dir: of the device.
      population: whose; None for the only one.
      public_key: file with the key to trust; by default the one kept beside the release.

    Raises:
      click.ClickException: several populations have releases here, and none was named.
      IncompleteRelease, MalformedMessage: the key file is missing, or holds no key.

    """
    folders = [data_dir / population / RELEASES] if population else sorted(data_dir.glob(f"*/{RELEASES}/"))
    if len(folders) > 1:
        names = ", ".join(folder.parent.name for folder in folders)
        raise click.ClickException(f"--population must name one of {names}, since this device keeps them all")
    for folder in folders:
        keys = [public_key] if public_key else sorted(folder.glob(f"*/{PUBLIC_KEY_FILE}"))
        for key in keys:
            try:
                return ReleaseKeeper(folder, read_public_key(key), folder.parent.name).current()
            except NoRelease:
                continue
    return None
