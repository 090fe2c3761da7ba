"""`keychorus device status`: where the device is in its rounds, and on what terms."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from device_runtime.commands.keyboard import kept_release
from device_runtime.commands.log_report import show_log
from device_runtime.commands.options import data_directory, examples, one_sentence_errors
from device_runtime.diary import DIARY_FILE, Diary
from device_runtime.keyboard.privacy import privacy_line
from device_runtime.rounds.agent_state import AgentState, StateFile
from device_runtime.rounds.terms import TermsFile
from device_runtime.rounds.terms_in_words import Fact, tell_terms
from device_runtime.rounds.votes_in_words import LOOKED_AT, tell_votes

_ENROLMENT = {
    "not_yet": "not yet; the service is asked before the first check-in",
    "enrolled": "enrolled; requests are signed with this device's key",
    "refused": "refused; does the service need its operator's token? (device run --enrolment-token)",
    "revoked": "revoked by the service's operator",
}


@click.command(epilog=examples("keychorus device status --population english"))
@click.option("--population", required=True, help="The population the device takes part in.")
@data_directory
def status(*, population: str, data_dir: Path) -> None:
    """Show where the device is in its rounds, what its population promises, and what its log holds."""
    with one_sentence_errors():
        state = StateFile(data_dir / population / "agent.json").load()
        for line in (*_rounds(state), *_privacy(data_dir, population)):
            click.echo(line)
        show_log(data_dir)


def _rounds(state: AgentState) -> Iterator[str]:
    now = time.time()
    yield f"phase              {type(state.phase).__name__.lower()}"
    yield f"enrolment          {_ENROLMENT[state.enrolment]}"
    yield f"rounds reported    {state.rounds_reported}"
    yield f"newest model       {state.newest_model_version}"
    yield f"next check-in in   {max(state.pause.remaining_s(now), state.separation.remaining_s(now)):.0f} s"


def _privacy(data_dir: Path, population: str) -> Iterator[str]:
    for fact in (*tell_terms(TermsFile(data_dir / population).load()), *_votes(data_dir)):
        yield f"{fact.about:18} {fact.told}"
    release = kept_release(data_dir, population, None)
    if release is not None:
        yield f"its model          {privacy_line(release.privacy_statement)}"


def _votes(data_dir: Path) -> list[Fact]:
    """Of all populations: the diary is the device's."""
    if not (data_dir / DIARY_FILE).exists():
        return []
    with Diary(data_dir / DIARY_FILE) as diary:
        return tell_votes(diary.entries(LOOKED_AT))
