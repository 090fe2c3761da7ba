"""`keychorus device keyboard`: the page that suggests."""

import webbrowser
from pathlib import Path

import click

from device_runtime.commands.options import DEFAULT_RELEASE, examples, one_sentence_errors, open_chosen_release


@click.command(
    epilog=examples("keychorus device keyboard", "keychorus device keyboard --release ~/releases/english --no-open")
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

    with one_sentence_errors():
        release = open_chosen_release(folder, public_key)
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
