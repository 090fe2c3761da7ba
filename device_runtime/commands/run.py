"""`keychorus device run`: the daemon that learns."""

import logging
from pathlib import Path
from typing import Any

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.commands.conditions import condition_options, conditions_from
from device_runtime.commands.options import (
    DEFAULT_MAX_DELTA,
    data_directory,
    examples,
    one_sentence_errors,
    open_log,
    weakest_promise,
)
from device_runtime.daemon import Daemon
from device_runtime.diary import DIARY_FILE, Diary
from device_runtime.environment import DeviceEnvironment
from device_runtime.releases.refresh import ReleaseRefresh
from device_runtime.releases.release import open_release, read_public_key
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.terms import TermsFile
from device_runtime.stop_signal import StopSignal
from device_runtime.storage.files import only_process, private_directory
from device_runtime.suggestions.blocked import BlockList
from protocol.messages import Token
from tokenizer.vocabulary import Vocabulary

TOKEN_VARIABLE = "KEYCHORUS_ENROLMENT_TOKEN"  # noqa: S105  # a variable's name


@click.command(
    epilog=examples(
        "keychorus device run --service https://keys.example.org --population english --public-key enrolment.txt",
        "keychorus device run --service http://127.0.0.1:8400 --population demo \\\n"
        "    --public-key reports/demo/release/public_key.txt --always-eligible",
        "keychorus device run --service https://keys.example.org --population english --public-key enrolment.txt \\\n"
        "    --require-secure-aggregation --max-epsilon 4",
        "keychorus device run --service https://keys.example.org --population english --public-key enrolment.txt \\\n"
        "    --discover-words --blocked-words names.txt",
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
@click.option(
    "--enrolment-token",
    envvar=TOKEN_VARIABLE,
    show_envvar=True,
    help="The operator's token, with which the service takes this device's key; needed once, where it asks for one.",
)
@click.option(
    "--enrolment-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with that token: other people of this machine can read a command line.",
)
@click.option(
    "--require-secure-aggregation",
    is_flag=True,
    help="Refuse rounds in which the service would see this device's update by itself.",
)
@click.option(
    "--require-device-noise",
    is_flag=True,
    help="Refuse rounds in which the noise is the service's to add: devices must, so that nobody is trusted for it.",
)
@click.option(
    "--max-epsilon",
    type=float,
    help="Refuse rounds whose plan does not promise that all of the population's releases together cost this at most.",
)
@click.option("--max-delta", type=float, help=f"The largest δ of such a promise; {DEFAULT_MAX_DELTA:g}.")
@click.option(
    "--discover-words/--no-discover-words",
    "discovers_words",
    default=False,
    show_default=True,
    help="Whether this device votes, in masked sums, for words that it typed and no vocabulary has.",
)
@click.option(
    "--blocked-words",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file, one word a line, of words that are never voted for, besides those that the release blocks.",
)
@condition_options
@click.option("--always-eligible", is_flag=True, help="The same as --conditions always.")
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many steps; otherwise run until stopped.")
@data_directory
def run(
    *,
    service: str,
    population: str,
    public_key: Path,
    release: Path | None,
    enrolment_token: str | None,
    enrolment_token_file: Path | None,
    require_secure_aggregation: bool,
    require_device_noise: bool,
    max_epsilon: float | None,
    max_delta: float | None,
    discovers_words: bool,
    blocked_words: Path | None,
    source: str,
    always_eligible: bool,
    steps: int | None,
    data_dir: Path,
    **overrides: Any,
) -> None:
    """Take part in rounds: train on the typing log and report updates.

    Only while the device is idle, charging, charged, cool and on an unmetered network: `keychorus device conditions`
    shows what holds. SIGTERM and Ctrl-C end it within a second; what it was doing is taken up again at the next start.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    with one_sentence_errors():
        key = read_public_key(public_key)
        token = _enrolment_token(enrolment_token, enrolment_token_file)
        enrolment = Enrolment(
            service_url=service,
            population=population,
            public_key=key,
            token=token,
            require_secure_aggregation=require_secure_aggregation,
            require_device_noise=require_device_noise,
            weakest_promise=weakest_promise(max_epsilon, max_delta),
            discovers_words=discovers_words,
        )
        own_blocked = BlockList.read(blocked_words) if blocked_words else BlockList()
        vocabulary, blocked = _installed(release, key)
        private_directory(data_dir)
        with (
            only_process(data_dir / "agent.lock"),
            StopSignal() as stop,
            conditions_from("always" if always_eligible else source, data_dir, overrides, stop.is_set) as conditions,
        ):
            environment = DeviceEnvironment(data_directory=data_dir, conditions=conditions, is_ending=stop.is_set)
            _run(environment, enrolment, vocabulary, stop, steps, blocked=blocked | own_blocked)


def _run(
    environment: DeviceEnvironment,
    enrolment: Enrolment,
    vocabulary: Vocabulary | None,
    stop: StopSignal,
    steps: int | None,
    *,
    blocked: BlockList,
) -> None:
    data_dir = environment.data_directory
    TermsFile(data_dir / enrolment.population).note_wishes(enrolment.wishes)
    with open_log(data_dir) as log, Diary(data_dir / DIARY_FILE) as diary:
        agent = Agent(environment, enrolment, log, vocabulary, blocked=blocked)
        refresh = ReleaseRefresh(environment, enrolment, log)
        Daemon(agent, stop, environment.clock, environment.conditions, diary=diary, refresh=refresh).run(steps)


def _enrolment_token(given: str | None, file: Path | None) -> str | None:
    if file is not None:
        given = file.read_text(encoding="utf-8", errors="replace")
    try:
        return None if given is None else msgspec.convert(given.strip(), Token)
    except msgspec.ValidationError:
        raise click.UsageError("an enrolment token must be 64 hexadecimal digits, got something else") from None


def _installed(release: Path | None, key: Ed25519PublicKey) -> tuple[Vocabulary | None, BlockList]:
    """What an installed release brings: its vocabulary, and words that are neither suggested nor voted for."""
    if release is None:
        return None, BlockList()
    opened = open_release(release, key)
    return Vocabulary(opened.vocabulary), BlockList.from_text(opened.blocked_words)
