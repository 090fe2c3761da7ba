"""`keychorus device run`: the daemon that learns."""

import logging
import time
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.agent import Agent, Enrolment
from device_runtime.commands.options import data_directory, examples, one_sentence_errors, open_log
from device_runtime.conditions import AlwaysEligible, NeverEligible
from device_runtime.environment import DeviceEnvironment
from device_runtime.outcome import Outcome
from device_runtime.release import open_release, read_public_key
from device_runtime.storage import only_process, private_directory
from tokenizer.vocabulary import Vocabulary

_LONGEST_SLEEP_S = 60.0
_SHORTEST_SLEEP_S = 0.05

_logger = logging.getLogger(__name__)


@click.command(
    epilog=examples(
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
@data_directory
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
    with one_sentence_errors():
        key = read_public_key(public_key)
        enrolment = Enrolment(service_url=service, population=population, public_key=key)
        conditions = AlwaysEligible() if always_eligible else NeverEligible()
        environment = DeviceEnvironment(data_directory=private_directory(data_dir), conditions=conditions)
        with only_process(data_dir / "agent.lock"), open_log(data_dir) as log:
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


def _installed_vocabulary(release: Path | None, key: Ed25519PublicKey) -> Vocabulary | None:
    return None if release is None else Vocabulary(open_release(release, key).vocabulary)
