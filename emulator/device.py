"""One emulated device: the real agent, log, trainer and client, in surroundings that are made up.

`make_device` writes what a device finds on its disk; `run_step` makes one step of its agent, in whichever process. What
a device is lies in its folder, so that any process can take the next step.
"""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import requests

from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.outcome import Outcome
from device_runtime.rounds.secure_report import SessionMemory
from device_runtime.typing_log import TypingLog
from emulator.trace import Trace
from protocol.manifest import decode_public_key
from tokenizer.vocabulary import Vocabulary

APP = "org.example.chat"
_ROUND_TRIP_S = 0.2
_DOWN_BYTES_PER_S = 4e6
_UP_BYTES_PER_S = 1e6


@dataclass(frozen=True, kw_only=True)
class World:
    """What all devices of a fleet share. Holds strings and paths only, so that it travels between processes."""

    service_url: str
    population: str
    public_key: str
    enrolment_token: str
    vocabulary_path: Path


@dataclass(frozen=True, kw_only=True)
class EmulatedDevice:
    """One device of a fleet.

    Attributes:
      index: its number, which seeds everything made up about it.
      folder: its disk.
      trace: its surroundings.
      seconds_per_step: how long its processor takes for a training step.
      least_steps: no training run of this device has fewer steps, unless it is cut short. The fleet lets others go on
        for so long while this one computes, so a low value costs speed and nothing else.

    """

    index: int
    folder: Path
    trace: Trace
    seconds_per_step: float
    least_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step gave, and how long it took the device.

    Attributes:
      outcome: of the agent.
      elapsed_s: virtual seconds.
      tensorflow_loaded: whether the process that took the step has TensorFlow in it; it never should.

    """

    outcome: Outcome
    elapsed_s: float
    tensorflow_loaded: bool


def make_device(device: EmulatedDevice, texts: Sequence[str], *, now: float) -> int:
    """Fills a device's typing log with `texts`, typed over the days before `now`, and gives consent.

    Returns:
      How many messages the log took.

    """
    with _typing_log(device, now) as log:
        log.consent = True
        minutes = 20 * 60.0
        return log.extend((text, APP, now - (len(texts) - place) * minutes) for place, text in enumerate(texts))


def run_step(
    world: World, device: EmulatedDevice, *, now: float, picked_up_after_steps: int | None = None
) -> StepResult:
    """Makes one step of a device's agent.

    A session of secure aggregation lives in the memory of the process that began it: steps after training are to be
    made by one and the same process.

    Args:
      world: the service and its population.
      device: which device.
      now: virtual time at which the step begins.
      picked_up_after_steps: the person takes the device up after so many training steps of this step, which ends its
        idleness; None if not.

    """
    surroundings = _Surroundings(device, now, picked_up_after_steps)
    environment = DeviceEnvironment(
        data_directory=device.folder,
        conditions=surroundings,
        clock=surroundings.clock,
        http=_session(),
        should_abort=surroundings.spend_training_step,
        jitter=random.Random(f"{device.index} {now}").random,  # noqa: S311  # spreads retries, guards nothing
    )
    enrolment = Enrolment(
        service_url=world.service_url,
        population=world.population,
        public_key=decode_public_key(world.public_key),
        token=world.enrolment_token,
    )
    with _typing_log(device, now) as log:
        vocabulary = _vocabulary(world.vocabulary_path)
        outcome = Agent(environment, enrolment, log, vocabulary, _memory(device.folder)).step()
    transfer_s = outcome.bytes_up / _UP_BYTES_PER_S + outcome.bytes_down / _DOWN_BYTES_PER_S
    elapsed_s = surroundings.clock() - now + transfer_s + _ROUND_TRIP_S
    return StepResult(outcome=outcome, elapsed_s=elapsed_s, tensorflow_loaded="tensorflow" in sys.modules)


class _Surroundings:
    """Conditions and clock of one step: time passes by training, and may bring the person back."""

    def __init__(self, device: EmulatedDevice, now: float, picked_up_after_steps: int | None):
        self._device = device
        self._now = now
        self._steps_left = picked_up_after_steps

    def clock(self) -> float:
        return self._now

    def read(self) -> Conditions:
        conditions = self._device.trace.conditions(self._now)
        picked_up = self._steps_left is not None and self._steps_left < 0
        return Conditions(
            idle=conditions.idle and not picked_up, charging=conditions.charging, unmetered=conditions.unmetered
        )

    def spend_training_step(self) -> bool:
        """Called before each training step. Never aborts by itself: conditions do."""
        self._now += self._device.seconds_per_step
        if self._steps_left is not None:
            self._steps_left -= 1
        return False


def _typing_log(device: EmulatedDevice, now: float) -> TypingLog:
    return TypingLog(device.folder / "typing_log.sqlite", clock=lambda: now)


@cache
def _memory(_folder: Path) -> SessionMemory:
    """What a device with this disk holds in memory from step to step."""
    return SessionMemory()


@cache
def _session() -> requests.Session:
    return new_session()


@cache
def _vocabulary(path: Path) -> Vocabulary:
    return Vocabulary(path.read_bytes())
