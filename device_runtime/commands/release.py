"""`keychorus device release`: which model suggests, a newer one, and the way back."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from device_runtime.commands.options import data_directory, examples, one_sentence_errors, open_log
from device_runtime.releases.keeper import RELEASES, Decision, NoRelease, ReleaseKeeper, Verdict
from device_runtime.releases.release import Release, read_public_key
from device_runtime.typing_log import TypingLog

_LATEST_S = 253_402_300_799  # the last second of year 9999: a manifest may say more, a date cannot
_GOOD = (Verdict.ADOPTED, Verdict.UNCHANGED)
_Command = TypeVar("_Command", bound=Callable[..., object])


def _whose(command: _Command) -> _Command:
    """The options that say which releases are meant."""
    key = click.option(
        "--public-key", type=click.Path(path_type=Path), required=True, help="File with the key to trust."
    )
    return click.option("--population", required=True, help="The population the device takes part in.")(key(command))


@click.group(
    epilog=examples(
        "keychorus device release status --population english --public-key enrolment.txt",
        "keychorus device release rollback --population english --public-key enrolment.txt",
    )
)
def release() -> None:
    """See which release suggests, fetch a newer one, or go back."""


@release.command()
@_whose
@data_directory
def status(*, population: str, public_key: Path, data_dir: Path) -> None:
    """Show the present release, the one before it, and how many are not wanted."""
    with one_sentence_errors():
        keeper = open_keeper(data_dir, population, public_key)
        state = keeper.state()
        try:
            shown = describe(keeper.current())
        except NoRelease:
            shown = "none"
    click.echo(f"present release    {shown}")
    click.echo(f"before it          {_version(state.previous)}")
    click.echo(f"not wanted         {', '.join(map(_version, state.refused)) or 'none'}")


@release.command(
    epilog=examples(
        "keychorus device release fetch --service https://keys.example.org --population english \\\n"
        "    --public-key enrolment.txt"
    )
)
@click.option("--service", required=True, help="Address of the aggregation service; https, or http to this machine.")
@_whose
@data_directory
def fetch(*, service: str, population: str, public_key: Path, data_dir: Path) -> None:
    """Ask the service for its newest release, and adopt it if it is sound and not worse on this device's own log.

    Then fit personalisation to it. The daemon does the same once a day.
    """
    from device_runtime.environment import new_session
    from device_runtime.network.client import ServiceClient

    with one_sentence_errors(), new_session() as session, open_log(data_dir) as log:
        decision = open_keeper(data_dir, population, public_key, log).refresh(ServiceClient(service, session))
    click.echo(tell(decision))
    if decision.verdict not in _GOOD:
        raise click.exceptions.Exit(1)


@release.command()
@_whose
@data_directory
def rollback(*, population: str, public_key: Path, data_dir: Path) -> None:
    """Go back to the release before the present one, which is not adopted again."""
    with one_sentence_errors():
        keeper = open_keeper(data_dir, population, public_key)
        try:
            click.echo(f"Back to release {describe(keeper.rollback())}.")
        except NoRelease as error:
            raise click.ClickException(str(error)) from None


def open_keeper(data_dir: Path, population: str, public_key: Path, log: TypingLog | None = None) -> ReleaseKeeper:
    """The releases of a population in a data directory.

    Raises:
      IncompleteRelease, MalformedMessage: there is no such key file, or it holds no key.

    """
    return ReleaseKeeper(data_dir / population / RELEASES, read_public_key(public_key), population, log=log)


def describe(kept: Release) -> str:
    """A release in a few words: its model's version and its day."""
    made = datetime.fromtimestamp(min(kept.manifest.created_at, _LATEST_S), UTC)
    return f"{kept.manifest.model_version} of {made:%Y-%m-%d}"


def tell(decision: Decision) -> str:
    """A decision in one line.

    >>> tell(Decision(Verdict.WORSE, 12, 800, -0.0712))
    'Release 12: worse (-0.071 nats a word on 800 words of this device)'
    >>> tell(Decision(Verdict.UNREACHABLE))
    'Newest release: unreachable'
    """
    which = "Newest release" if decision.model_version is None else f"Release {decision.model_version}"
    compared = f" ({decision.gain_nats:+.3f} nats a word on {decision.num_words} words of this device)"
    return f"{which}: {decision.verdict.value}{compared if decision.num_words else ''}"


def _version(name: str | None) -> str:
    return "none" if name is None else name.partition("-")[0]
