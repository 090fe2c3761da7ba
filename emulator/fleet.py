"""A fleet in virtual time: devices sleep, check in, train and report as their traces allow.

Virtual time is kept by simpy and shown to the service through its clock file. What a device computes is real: training
runs in worker processes, several at once, while everything that talks to the service happens one step at a time, in
the order of virtual time. Where that is too slow, several lanes of devices speak at once, in no order within a few
seconds. In real time the same fleet lives by the machine's clock.
"""

import random
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simpy
import simpy.rt

from aggregation_service.clock import set_file_clock
from device_runtime.rounds.agent_state import Configured, StateFile, Trained, Waiting
from device_runtime.rounds.outcome import Event
from emulator.device import EmulatedDevice, Mishap, StepResult, World
from emulator.engine import Engine, LocalEngine, OpenEngine

Process = Generator[Any, Any, None]  # a simpy process yields events, which simpy does not type
SpeakingProcess = Generator[Any, Any, StepResult]
TrainingProcess = Generator[Any, Any, tuple[StepResult, Event | None]]
Observe = Callable[[EmulatedDevice, float, StepResult], None]

_SESSION = (Event.TRAINED, Event.ADVERTISED, Event.SHARED, Event.MASKED, Event.CONFIRMED)
"""After any of these a device may be lost to the session of secure aggregation that it is in, or never comes to."""
NEVER = float("inf")
LANES_APART_S = 5.0
"""With several lanes: what talks to the service takes at least so long, and others may speak meanwhile."""


class TensorFlowOnDevice(Exception):
    """A device's process has TensorFlow loaded: the emulation would not be one of devices."""


@dataclass(kw_only=True)
class FleetTotals:
    """What a fleet did, in numbers.

    Attributes:
      events: how often each outcome came.
      training_runs: numbers of each finished training run, in the order in which they ended.
      bytes_up: sent in all steps, refused uploads included.
      bytes_down: received in all steps.

    """

    events: Counter[Event] = field(default_factory=Counter)
    training_runs: list[dict[str, float]] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(frozen=True, kw_only=True)
class Appointment:
    """Something that happens to the whole rehearsal at a time, such as a service that is killed."""

    at: float
    act: Callable[[], None]


class Fleet:
    """Devices and the time they live in.

    Attributes:
      totals: what they did so far.
      wake_at: when each device acts next, in seconds since 1970; beside the devices' disks, all that a later fleet
        needs to go on from here.

    """

    def __init__(
        self,
        world_of: World | Callable[[EmulatedDevice], World],
        devices: Sequence[EmulatedDevice],
        *,
        start: float,
        clock_path: Path | None,
        seed: int,
        vanish_rate: float,
        num_workers: int,
        lanes: int = 1,
        wake_at: Sequence[float] | None = None,
        open_engine: OpenEngine | None = None,
    ):
        """Takes a fleet whose devices are on disk already.

        Args:
          world_of: the service and its population; or which it is for each device.
          devices: all of them.
          start: time at which the fleet begins, in seconds since 1970.
          clock_path: the service's clock file; None to live in real time, by the machine's clock.
          seed: of who vanishes when; whom the service selects does not follow it.
          vanish_rate: share of the devices that begin to train and never report; half are picked up while training,
            half lose their connection before they can report, at any stage of secure aggregation. Production saw 0.06
            to 0.10 (arXiv 1902.01046, section 9).
          num_workers: processes that train.
          lanes: processes that speak to the service; with more than 1 the order of what they say follows no seed.
          wake_at: when each device first acts, see `wake_at` above; None for `start`.
          open_engine: where devices compute; None for processes of this machine.

        Raises:
          ValueError: `vanish_rate` is out of its bound.

        """
        if not 0 <= vanish_rate <= 1:
            raise ValueError(f"vanish_rate must be in [0, 1], got {vanish_rate}")
        self.totals = FleetTotals()
        self.wake_at = array("d", [start] * len(devices) if wake_at is None else wake_at)
        self._world_of = (lambda _: world_of) if isinstance(world_of, World) else world_of
        self._devices = devices
        self._start = start
        self._clock_path = clock_path
        self._seed = seed
        self._vanish_rate = vanish_rate
        self._num_workers = num_workers
        self._lanes = lanes
        self._open_engine = open_engine
        self._time: Any = None

    @property
    def now(self) -> float:
        """What time it is in the fleet, in seconds since 1970."""
        return self._start if self._time is None else float(self._time.now)

    def run(
        self,
        is_done: Callable[[StepResult], bool] = lambda _: False,
        *,
        until: float = NEVER,
        observe: Observe | None = None,
        appointments: Sequence[Appointment] = (),
        on_time: Callable[[float], None] | None = None,
    ) -> None:
        """Lives until `is_done`, asked after each step with its result, says so, or no device can ever act again.

        Args:
          is_done: see above.
          until: lives no longer than this, in seconds since 1970.
          observe: told of each step: whose, when it ended, its result.
          appointments: what happens when; what should have happened before the fleet's start happens at once.
          on_time: told the time, often.

        Raises:
          TensorFlowOnDevice: see there.

        """
        time = self._time = self._environment()
        done = time.event()
        with (self._open_engine or LocalEngine)(self._num_workers, self._lanes) as engine:

            def watched(device: EmulatedDevice, result: StepResult) -> None:
                self._count(result)
                if observe is not None:
                    observe(device, time.now, result)
                if on_time is not None:
                    on_time(time.now)
                if not done.triggered and is_done(result):
                    done.succeed()

            stage = _Stage(time, engine, watched)
            for appointment in appointments:  # what happens to all at the first moment comes before what each does
                if appointment.at <= until:
                    time.process(self._keep(time, appointment))
            lives = [time.process(self._live(stage, place)) for place in range(len(self._devices))]
            ends = [done, time.all_of(lives)] if until == NEVER else [done, time.timeout(max(0.0, until - time.now))]
            time.run(until=time.any_of(ends))

    def _environment(self) -> Any:
        if self._clock_path is None:
            return simpy.rt.RealtimeEnvironment(initial_time=self._start, strict=False)
        return simpy.Environment(initial_time=self._start)

    def _keep(self, time: Any, appointment: Appointment) -> Process:
        yield time.timeout(max(0.0, appointment.at - time.now))
        self._show(time.now)
        appointment.act()

    def _live(self, stage: "_Stage", place: int) -> Process:
        """One device's life: asleep until its trace lets it act, then one step of its agent after the other."""
        time, device, lost_after = stage.time, self._devices[place], None
        yield time.timeout(max(0.0, self.wake_at[place] - time.now))
        while (eligible_at := device.trace.next_eligible(time.now)) is not None:
            self.wake_at[place] = eligible_at
            if eligible_at > time.now:
                yield time.timeout(eligible_at - time.now)
                continue  # a trace that does not know what will be has only said when to ask again
            if self._is_configured(device):
                result, lost_after = yield from self._train(stage, device)
            else:
                result = yield from self._speak(stage, device)
            stage.watched(device, result)
            lost = result.outcome.event is lost_after
            wait_s = self._remaining_deadline_s(device, time.now) if lost else result.outcome.next_step_in_s
            self.wake_at[place] = time.now + wait_s
            yield time.timeout(wait_s)
        self.wake_at[place] = NEVER

    def _speak(self, stage: "_Stage", device: EmulatedDevice) -> SpeakingProcess:
        """Makes a step that may talk to the service."""
        time = stage.time
        self._show(time.now)
        mishap = self._killed(device, time.now)
        future = stage.engine.speak(self._world_of(device), device, now=time.now, mishap=mishap)
        least_s = LANES_APART_S if self._lanes > 1 else 0.0
        if least_s:
            yield time.timeout(least_s)
        result = future.result()
        yield time.timeout(max(0.0, result.elapsed_s - least_s))
        return result

    def _train(self, stage: "_Stage", device: EmulatedDevice) -> TrainingProcess:
        """Trains in a worker while other devices go on: a training run takes some time on any device.

        Returns:
          The result, and after which event the device loses its connection until the round is over; None if it stays.

        """
        time = stage.time
        fate = self._draw_fate(device, time.now)
        mishap = fate.mishap or self._killed(device, time.now)
        least_s = device.hardware.seconds_per_step * (device.least_steps if mishap is None else mishap.after_steps)
        future = stage.engine.train(self._world_of(device), device, now=time.now, mishap=mishap)
        yield time.timeout(least_s)
        result = future.result()
        yield time.timeout(max(0.0, result.elapsed_s - least_s))
        if not fate.vanishes or fate.mishap is not None:
            return result, None
        return result, fate.lost_after if self._is_secure(device) else result.outcome.event

    def _draw_fate(self, device: EmulatedDevice, now: float) -> "_Fate":
        generator = self._generator(device, now)
        vanishes = generator.random() < self._vanish_rate
        picked_up = vanishes and generator.random() < 0.5
        lost_after = generator.choice(_SESSION)
        after = generator.randrange(max(1, device.least_steps))
        return _Fate(vanishes, lost_after, Mishap(after_steps=after) if picked_up else None)

    def _killed(self, device: EmulatedDevice, now: float) -> Mishap | None:
        """Whether the device's process ends during a step, at a training step or without one."""
        rate = device.hardware.kills_per_step
        if rate == 0:
            return None
        generator = self._generator(device, now, "kill")
        if generator.random() >= rate:
            return None
        return Mishap(after_steps=generator.randrange(max(1, device.least_steps)), is_kill=True)

    def _generator(self, device: EmulatedDevice, now: float, what: str = "fate") -> random.Random:
        """Of this device at this time, so that a fleet which goes on draws what it would have drawn."""
        return random.Random(f"{self._seed} {device.index} {now} {what}")  # noqa: S311  # draws mishaps, guards nothing

    def _show(self, now: float) -> None:
        """Shows the time to the service."""
        if self._clock_path is not None:
            set_file_clock(self._clock_path, now)

    def _is_configured(self, device: EmulatedDevice) -> bool:
        return isinstance(self._state_file(device).load().phase, Configured)

    def _is_secure(self, device: EmulatedDevice) -> bool:
        phase = self._state_file(device).load().phase
        return isinstance(phase, Trained) and phase.is_secure

    def _remaining_deadline_s(self, device: EmulatedDevice, now: float) -> float:
        phase = self._state_file(device).load().phase
        return 0.0 if isinstance(phase, Waiting) else phase.deadline.remaining_s(now)

    def _state_file(self, device: EmulatedDevice) -> StateFile:
        return StateFile(device.folder / self._world_of(device).population / "agent.json")

    def _count(self, result: StepResult) -> None:
        if result.tensorflow_loaded:
            raise TensorFlowOnDevice("a device's process must not load TensorFlow, and one did")
        outcome = result.outcome
        self.totals.events[outcome.event] += 1
        self.totals.bytes_up += outcome.bytes_up
        self.totals.bytes_down += outcome.bytes_down
        if outcome.event is Event.TRAINED:
            self.totals.training_runs.append(dict(outcome.numbers))


@dataclass(frozen=True)
class _Stage:
    """What all lives share while a fleet runs."""

    time: Any  # simpy.Environment, which has no types
    engine: Engine
    watched: Callable[[EmulatedDevice, StepResult], None]


@dataclass(frozen=True)
class _Fate:
    """What a training run will meet: see `vanish_rate`."""

    vanishes: bool
    lost_after: Event
    mishap: Mishap | None
