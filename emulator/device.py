"""One emulated device: the real agent, log, trainer and client, in surroundings that are made up.

`make_device` writes what a device finds on its disk; `run_step` makes one step of its agent, in whichever process. What
a device is lies in its folder, so that any process can take the next step, and one that waits is a few hundred bytes.
"""

import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import requests

from device_runtime.conditions import Conditions
from device_runtime.daemon import LONGEST_SLEEP_S, REFRESH_EVERY_S
from device_runtime.environment import DeviceEnvironment, never, new_session
from device_runtime.network.transfer import TransferStopped
from device_runtime.releases.keeper import RELEASES
from device_runtime.releases.refresh import ReleaseRefresh
from device_runtime.releases.release import Release
from device_runtime.releases.shelf import NoRelease, ReleaseShelf
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.secure_report import SessionMemory
from device_runtime.runtime import RUNTIME_VARIABLE
from device_runtime.typing_log import TypingLog
from emulator.adversaries import HONEST, Adversary
from emulator.entropy import seeded_entropy
from emulator.person import APP, Person, PersonState, Typed
from emulator.storage_limit import largest_file
from emulator.traces.hardware import Hardware
from protocol.manifest import decode_public_key
from tokenizer.vocabulary import Vocabulary

_ROUND_TRIP_S = 0.2
_OWN_TROUBLE = (OSError, sqlite3.Error)
_IN_SESSION = (Event.ADVERTISED, Event.AWAITING_GROUP, Event.SHARED, Event.MASKED, Event.CONFIRMED)
_MAY_HOLD_A_SESSION = frozenset({*_IN_SESSION, Event.UNAVAILABLE, Event.INTERRUPTED, Event.NOT_ELIGIBLE, Event.WAITING})


class Surroundings(Protocol):
    """When a device may act."""

    def conditions(self, at: float) -> Conditions:
        """The conditions at a time, in seconds since 1970."""
        ...

    def next_eligible(self, at: float) -> float | None:
        """The first time from `at` on at which all conditions hold, None if that never comes.

        Where that is not known: `at` if they hold, otherwise when to ask again.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class World:
    """What all devices of a population share. Holds strings, paths and numbers, so that it travels between processes.

    Attributes:
      service_url: of the real service.
      population: that the devices join.
      public_key: of the service, in hexadecimal.
      enrolment_token: which lets them in.
      vocabulary_path: of the vocabulary that the devices have installed.
      start: when the fleet begins, in seconds since 1970.
      entropy: seed of what is random on devices; None for the system's source. See `emulator.entropy`.
      refreshes_releases: whether devices look for releases once a day and after each report, as the daemon does.
      require_secure_aggregation: the owners' wish.

    """

    service_url: str
    population: str
    public_key: str
    enrolment_token: str
    vocabulary_path: Path
    start: float = 0.0
    entropy: str | None = None
    refreshes_releases: bool = False
    require_secure_aggregation: bool = False

    @property
    def enrolment(self) -> Enrolment:
        """Whom the devices work with."""
        return Enrolment(
            service_url=self.service_url,
            population=self.population,
            public_key=decode_public_key(self.public_key),
            token=self.enrolment_token,
            require_secure_aggregation=self.require_secure_aggregation,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EmulatedDevice:
    """One device of a fleet.

    Attributes:
      index: its number, which seeds everything made up about it.
      folder: its disk.
      trace: its surroundings.
      hardware: its machine.
      least_steps: no training run of this device has fewer steps, unless it is cut short. The fleet lets others go on
        for so long while this one computes, so a low value costs speed and nothing else.
      person: who types on it; None if nobody does any more.
      adversary: what it does that the plan does not say.

    """

    index: int
    folder: Path
    trace: Surroundings
    hardware: Hardware = Hardware()  # noqa: RUF009  # frozen
    least_steps: int = 0
    person: Person | None = None
    adversary: Adversary = HONEST


@dataclass(frozen=True, kw_only=True)
class Mishap:
    """What cuts a step short after so many training steps.

    Attributes:
      after_steps: of training.
      is_kill: the process ends, and the next one takes the work up again; otherwise the person takes the device up.

    """

    after_steps: int
    is_kill: bool = False


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step gave, and how long it took the device.

    Attributes:
      outcome: of the agent.
      release: of looking for a release; None if it did not.
      typed: what its person typed since the step before, by day.
      elapsed_s: virtual seconds.
      cpu_s: seconds that a processor of this machine worked on it.
      tensorflow_loaded: whether the process that took the step has TensorFlow in it; it never should.

    """

    outcome: Outcome
    release: Outcome | None = None
    typed: tuple[Typed, ...] = ()
    elapsed_s: float
    cpu_s: float
    tensorflow_loaded: bool


def make_device(device: EmulatedDevice, texts: Sequence[str], *, now: float) -> int:
    """Fills a device's typing log with `texts`, typed over the days before `now`, and gives consent.

    Returns:
      How many messages the log took.

    """
    with _typing_log(device, lambda: now) as log:
        log.consent = True
        minutes = 20 * 60.0
        return log.extend((text, APP, now - (len(texts) - place) * minutes) for place, text in enumerate(texts))


def run_step(
    world: World,
    device: EmulatedDevice,
    *,
    now: float,
    mishap: Mishap | None = None,
    is_ending: Callable[[], bool] = never,
    may_refresh: bool = True,
) -> StepResult:
    """Makes one step of a device's agent.

    A session of secure aggregation lives in the memory of the process that began it: steps after training are to be
    made by one and the same process.

    Args:
      world: the service and its population.
      device: which device.
      now: virtual time at which the step begins.
      mishap: what cuts the step's training short; None for nothing.
      is_ending: polled everywhere; the rehearsal is to end, and a later one will take the step again.
      may_refresh: whether the step may look for a release, where devices do.

    """
    began = time.process_time()
    with _as_its_process(world, device, now):
        surroundings = _Surroundings(world, device, now, mishap, is_ending)
        environment = surroundings.environment
        with _typing_log(device, environment.clock) as log:
            typed = _live(world, device, log, environment.clock())
            outcome = _step(world, device, environment, log)
            release = _refreshed(world, device, environment, log, outcome) if may_refresh else None
        device.adversary.after_step(device, world, outcome)
    if mishap is not None and mishap.is_kill:
        forget_session(device)
    moved = [outcome] if release is None else [outcome, release]
    hardware = device.hardware
    transfer_s = sum(
        each.bytes_up / hardware.up_bytes_per_s + each.bytes_down / hardware.down_bytes_per_s for each in moved
    )
    return StepResult(
        outcome=outcome,
        release=release,
        typed=tuple(typed),
        elapsed_s=surroundings.now - now + transfer_s + _ROUND_TRIP_S,
        cpu_s=time.process_time() - began,
        tensorflow_loaded="tensorflow" in sys.modules,
    )


def forget_session(device: EmulatedDevice) -> None:
    """Ends a device's process: what was in its memory alone is gone."""
    _memories.pop(device.folder, None)


class _Surroundings:
    """Conditions and clock of one step: time passes by training, and may bring the person back."""

    def __init__(
        self,
        world: World,
        device: EmulatedDevice,
        now: float,
        mishap: Mishap | None,
        is_ending: Callable[[], bool] = never,
    ):
        self.now = now
        self._world = world
        self._device = device
        self._mishap = mishap
        self._steps = 0
        self._is_ending = is_ending

    @property
    def environment(self) -> DeviceEnvironment:
        """What the device's runtime is given."""
        device = self._device
        return DeviceEnvironment(
            data_directory=device.folder,
            conditions=self,
            clock=self.clock,
            http=device.adversary.session(_own_connections()),
            should_abort=self.spend_training_step,
            is_ending=lambda: self._is_ending() or self._meets_mishap(is_kill=True),
            jitter=random.Random(f"{device.index} {self.now}").random,  # noqa: S311  # spreads retries
        )

    def clock(self) -> float:
        """The device's own clock, which is right only more or less."""
        return self.now + self._device.hardware.clock_ahead_s(self.now - self._world.start)

    def read(self) -> Conditions:
        conditions = self._device.trace.conditions(self.now)
        return replace(conditions, idle=False) if self._meets_mishap(is_kill=False) else conditions

    def spend_training_step(self) -> bool:
        """Called before each training step. Never aborts by itself: conditions do."""
        self.now += self._device.hardware.seconds_per_step
        self._steps += 1
        return False

    def _meets_mishap(self, *, is_kill: bool) -> bool:
        mishap = self._mishap
        return mishap is not None and mishap.is_kill is is_kill and self._steps > mishap.after_steps


def _live(world: World, device: EmulatedDevice, log: TypingLog, now: float) -> list[Typed]:
    if device.person is None:
        return []
    return device.person.live(device.folder, log, now, _release(world, device), device.adversary.texts)


def _release(world: World, device: EmulatedDevice) -> Release | None:
    try:
        return ReleaseShelf(
            device.folder / world.population / RELEASES, decode_public_key(world.public_key), world.population
        ).current()
    except NoRelease:
        return None


def _step(world: World, device: EmulatedDevice, environment: DeviceEnvironment, log: TypingLog) -> Outcome:
    """One step of the agent; a disk that refuses is met as the daemon meets it."""
    try:
        memory = _memories.setdefault(device.folder, SessionMemory())
        with largest_file(device.hardware.largest_file_bytes):
            outcome = Agent(environment, world.enrolment, log, _vocabulary(world.vocabulary_path), memory).step()
        if outcome.event not in _MAY_HOLD_A_SESSION:
            forget_session(device)
    except _OWN_TROUBLE as error:
        return Outcome(event=Event.FAILED, next_step_in_s=LONGEST_SLEEP_S, reason=type(error).__name__)
    return outcome


def _refreshed(
    world: World, device: EmulatedDevice, environment: DeviceEnvironment, log: TypingLog, outcome: Outcome
) -> Outcome | None:
    """Looks for a release when the daemon would: once a day and after a report, never within a round."""
    in_round = outcome.next_step_in_s == 0 or outcome.event is Event.AWAITING_GROUP
    state, now = PersonState.load(device.folder), environment.clock()
    if not world.refreshes_releases or state is None or in_round:
        return None
    is_due = outcome.event is Event.REPORTED or not 0 <= now - state.refreshed_at < REFRESH_EVERY_S
    if not is_due or not environment.conditions.read().eligible:
        return None
    try:
        found = ReleaseRefresh(environment, world.enrolment, log)()
    except (TransferStopped, *_OWN_TROUBLE):
        return None
    PersonState(typed_until=state.typed_until, next_text=state.next_text, refreshed_at=now).save(device.folder)
    return found


@contextmanager
def _as_its_process(world: World, device: EmulatedDevice, now: float) -> Iterator[None]:
    """What sets this device's process apart from others that take turns in this one: randomness and TFLite runtime."""
    before = os.environ.get(RUNTIME_VARIABLE)
    if device.hardware.runtime is not None:
        os.environ[RUNTIME_VARIABLE] = device.hardware.runtime
    try:
        if world.entropy is None:
            yield
        else:
            with seeded_entropy(f"{world.entropy} {device.index} {now}"):
                yield
    finally:
        os.environ.pop(RUNTIME_VARIABLE, None)
        if before is not None:
            os.environ[RUNTIME_VARIABLE] = before


def _typing_log(device: EmulatedDevice, clock: Callable[[], float]) -> TypingLog:
    return TypingLog(device.folder / "typing_log.sqlite", clock=clock)


_memories: dict[Path, SessionMemory] = {}
"""What each device holds in memory from step to step, by its disk."""


def _own_connections() -> requests.Session:
    """The process's session, without connections of the step before.

    One device would otherwise speak on another's; and on one whose service has gone meanwhile, whether anything can
    still be sent depends on how long ago that was by the machine's clock, which no seed knows.
    """
    session = _session()
    session.close()
    return session


@cache
def _session() -> requests.Session:
    return new_session()


@cache
def _vocabulary(path: Path) -> Vocabulary:
    return Vocabulary(path.read_bytes())
