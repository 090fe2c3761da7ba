"""Where the devices of a fleet compute.

Some processes of this machine speak to the service, and are the memory of their devices, where sessions of secure
aggregation live; others train, on this machine or, with `emulator.ray_engine`, on many.
"""

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.synchronize import Event as Flag
from typing import Protocol, Self

from emulator.device import EmulatedDevice, Mishap, StepResult, World, run_step
from evaluation.workers import Workers

_ending: Flag | None = None
"""In a worker: set when the rehearsal is to end."""


class NoCluster(Exception):
    """There is no cluster of machines where one was said to be, or none could be started."""


class Pending(Protocol):
    """A step that was begun."""

    def result(self) -> StepResult:
        """Waits for its end."""
        ...


class Engine(ABC):
    """The worker processes of one fleet.

    Guarantees:
      When the block ends, for whatever reason, what computes is asked to stop, as a device's runtime is when its
      process must end; steps that were not finished will be taken again by whoever goes on.
    """

    def __init__(self, lanes: int):
        """Args: `lanes` processes speak to the service, for a share of the devices each."""
        self._ending = multiprocessing.get_context("spawn").Event()
        self._speakers = [self._workers(1) for _ in range(lanes)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for speaker in self._speakers:
            self._stack.enter_context(speaker)
        self._begin_training(self._stack)
        self._stack.callback(self._ending.set)  # what is registered last comes first
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def speak(self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None) -> Pending:
        """Begins a step that may talk to the service; steps of one lane follow each other."""
        speaker = self._speakers[device.index % len(self._speakers)]
        return speaker.submit(_run, world, device, now, mishap, True)

    @abstractmethod
    def train(self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None) -> Pending:
        """Begins a step that trains, and says nothing to the service: several of these run at once."""

    @abstractmethod
    def _begin_training(self, stack: ExitStack) -> None:
        """Starts what trains, until `stack` closes."""

    def _workers(self, number: int) -> Workers:
        return Workers(number, begin=_begin_worker, arguments=(self._ending,))


OpenEngine = Callable[[int, int], Engine]
"""Makes an engine of so many processes that train, where that is its to choose, and so many lanes."""


class LocalEngine(Engine):
    """Trains in processes of this machine."""

    def __init__(self, num_workers: int, lanes: int = 1):
        """Args: `num_workers` processes train; `lanes` others speak to the service."""
        super().__init__(lanes)
        self._trainers = self._workers(num_workers)

    def train(self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None) -> Pending:
        """Begins a step in whichever process is free."""
        return self._trainers.submit(_run, world, device, now, mishap, False)

    def _begin_training(self, stack: ExitStack) -> None:
        stack.enter_context(self._trainers)


def _run(world: World, device: EmulatedDevice, now: float, mishap: Mishap | None, may_refresh: bool) -> StepResult:
    flag = _ending
    if flag is None:
        raise RuntimeError("a worker must have begun before it runs a step")
    return run_step(world, device, now=now, mishap=mishap, is_ending=flag.is_set, may_refresh=may_refresh)


def _begin_worker(ending: Flag) -> None:
    global _ending  # noqa: PLW0603  # a worker process serves one fleet
    _ending = ending
