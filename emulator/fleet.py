"""A fleet in virtual time: devices sleep, check in, train and report as their traces allow.

Virtual time is kept by simpy and shown to the service through its clock file. What a device computes is real: training
runs in worker processes, several at once, while everything that talks to the service happens one step at a time, in
the order of virtual time.
"""

import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simpy

from aggregation_service.clock import set_file_clock
from device_runtime.rounds.agent_state import Configured, StateFile, Trained, Waiting
from device_runtime.rounds.outcome import Event
from emulator.device import EmulatedDevice, StepResult, World, run_step

Process = Generator[Any, Any, None]  # a simpy process yields events, which simpy does not type
TrainingProcess = Generator[Any, Any, tuple[StepResult, Event | None]]

_SESSION = (Event.TRAINED, Event.ADVERTISED, Event.SHARED, Event.MASKED, Event.CONFIRMED)
"""After any of these a device may be lost to the session of secure aggregation that it is in, or never comes to."""


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


@dataclass(frozen=True)
class _Stage:
    """What all lives share while a fleet runs."""

    time: Any  # simpy.Environment, which has no types
    trainers: ProcessPoolExecutor
    network: ProcessPoolExecutor
    watched: Callable[[StepResult], None]


class Fleet:
    """Devices and the virtual time they live in."""

    def __init__(
        self,
        world: World,
        devices: Sequence[EmulatedDevice],
        *,
        start: float,
        clock_path: Path,
        seed: int,
        vanish_rate: float,
        num_workers: int,
    ):
        """Takes a fleet whose devices are on disk already.

        Args:
          world: the service and its population.
          devices: all of them.
          start: virtual time at which the fleet begins, in seconds since 1970.
          clock_path: the service's clock file.
          seed: of who vanishes when; whom the service selects does not follow it.
          vanish_rate: share of the devices that begin to train and never report; half are picked up while training,
            half lose their connection before they can report, at any stage of secure aggregation. Production saw 0.06
            to 0.10 (arXiv 1902.01046, section 9).
          num_workers: processes that train.

        Raises:
          ValueError: `vanish_rate` is out of its bound.

        """
        if not 0 <= vanish_rate <= 1:
            raise ValueError(f"vanish_rate must be in [0, 1], got {vanish_rate}")
        self.totals = FleetTotals()
        self._world = world
        self._devices = devices
        self._start = start
        self._clock_path = clock_path
        self._generator = random.Random(seed)  # noqa: S311  # draws who vanishes, guards nothing
        self._vanish_rate = vanish_rate
        self._num_workers = num_workers

    def run(self, is_done: Callable[[StepResult], bool]) -> None:
        """Lives until `is_done`, asked after each step with its result, says so, or no device can ever act again.

        Raises:
          TensorFlowOnDevice: see there.

        """
        time = simpy.Environment(initial_time=self._start)
        done = time.event()
        # Spawned, not forked: a worker holds what a device holds, and nothing of the process that rehearses.
        context = multiprocessing.get_context("spawn")
        with ExitStack() as stack:
            trainers = ProcessPoolExecutor(
                self._num_workers, mp_context=context, initializer=_leave_interrupts_to_parent
            )
            stack.callback(trainers.shutdown, cancel_futures=True)
            network = ProcessPoolExecutor(1, mp_context=context, initializer=_leave_interrupts_to_parent)
            stack.callback(network.shutdown, cancel_futures=True)

            def watched(result: StepResult) -> None:
                self._count(result)
                if not done.triggered and is_done(result):
                    done.succeed()

            stage = _Stage(time, trainers, network, watched)
            lives = [time.process(self._live(stage, device)) for device in self._devices]
            time.run(until=time.any_of([done, time.all_of(lives)]))

    def _live(self, stage: "_Stage", device: EmulatedDevice) -> Process:
        """One device's life: asleep until its trace lets it act, then one step of its agent after the other."""
        time, lost_after = stage.time, None
        while (eligible_at := device.trace.next_eligible(time.now)) is not None:
            yield time.timeout(eligible_at - time.now)
            if self._is_configured(device):
                result, lost_after = yield from self._train(stage, device)
            else:
                set_file_clock(self._clock_path, time.now)
                result = stage.network.submit(run_step, self._world, device, now=time.now).result()
                yield time.timeout(result.elapsed_s)
            stage.watched(result)
            lost = result.outcome.event is lost_after
            yield time.timeout(self._remaining_deadline_s(device, time.now) if lost else result.outcome.next_step_in_s)

    def _train(self, stage: "_Stage", device: EmulatedDevice) -> TrainingProcess:
        """Trains in a worker while other devices go on: a training run takes some time on any device.

        Returns:
          The result, and after which event the device loses its connection until the round is over; None if it stays.

        """
        time = stage.time
        vanishes = self._generator.random() < self._vanish_rate
        picked_up = vanishes and self._generator.random() < 0.5
        lost_after = self._generator.choice(_SESSION)
        after = self._generator.randrange(max(1, device.least_steps)) if picked_up else None
        least_s = device.seconds_per_step * (device.least_steps if after is None else after)
        future = stage.trainers.submit(run_step, self._world, device, now=time.now, picked_up_after_steps=after)
        yield time.timeout(least_s)
        result = future.result()
        yield time.timeout(max(0.0, result.elapsed_s - least_s))
        if not vanishes or picked_up:
            return result, None
        return result, lost_after if self._is_secure(device) else result.outcome.event

    def _is_configured(self, device: EmulatedDevice) -> bool:
        return isinstance(self._state_file(device).load().phase, Configured)

    def _is_secure(self, device: EmulatedDevice) -> bool:
        phase = self._state_file(device).load().phase
        return isinstance(phase, Trained) and phase.is_secure

    def _remaining_deadline_s(self, device: EmulatedDevice, now: float) -> float:
        phase = self._state_file(device).load().phase
        return 0.0 if isinstance(phase, Waiting) else phase.deadline.remaining_s(now)

    def _state_file(self, device: EmulatedDevice) -> StateFile:
        return StateFile(device.folder / self._world.population / "agent.json")

    def _count(self, result: StepResult) -> None:
        if result.tensorflow_loaded:
            raise TensorFlowOnDevice("a device's process must not load TensorFlow, and one did")
        outcome = result.outcome
        self.totals.events[outcome.event] += 1
        self.totals.bytes_up += outcome.bytes_up
        self.totals.bytes_down += outcome.bytes_down
        if outcome.event is Event.TRAINED:
            self.totals.training_runs.append(dict(outcome.numbers))


def _leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches all processes of a terminal; the fleet's own process ends the workers in good order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
