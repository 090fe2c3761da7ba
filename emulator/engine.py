"""Where the devices of a fleet compute: processes of this machine.

One process speaks to the service, and is the memory of all devices, where their sessions of secure aggregation live;
others train. Another engine needs `speak` and `train` only.
"""

import multiprocessing
from concurrent.futures import Future
from contextlib import ExitStack
from multiprocessing.synchronize import Event as Flag
from typing import Self

from emulator.device import EmulatedDevice, Mishap, StepResult, World, run_step
from emulator.workers import Workers

_ending: Flag | None = None
"""In a worker: set when the rehearsal is to end."""


class Engine:
    """The worker processes of one fleet.

    Guarantees:
      When the block ends, for whatever reason, what computes is asked to stop, as a device's runtime is when its
      process must end; steps that were not finished will be taken again by whoever goes on.
    """

    def __init__(self, num_workers: int):
        """Args: `num_workers` processes train, beside the one that speaks."""
        self._ending = multiprocessing.get_context("spawn").Event()
        self._trainers = Workers(num_workers, begin=_begin_worker, arguments=(self._ending,))
        self._speaker = Workers(1, begin=_begin_worker, arguments=(self._ending,))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._speaker)
        self._stack.enter_context(self._trainers)
        self._stack.callback(self._ending.set)  # what is registered last comes first
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def speak(self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None) -> StepResult:
        """Makes a step that may talk to the service; returns when it is over."""
        return self._speaker.submit(_run, world, device, now, mishap).result()

    def train(
        self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None
    ) -> "Future[StepResult]":
        """Begins a step that trains."""
        return self._trainers.submit(_run, world, device, now, mishap)


def _run(world: World, device: EmulatedDevice, now: float, mishap: Mishap | None) -> StepResult:
    flag = _ending
    if flag is None:
        raise RuntimeError("a worker must have begun before it runs a step")
    return run_step(world, device, now=now, mishap=mishap, is_ending=flag.is_set)


def _begin_worker(ending: Flag) -> None:
    global _ending  # noqa: PLW0603  # a worker process serves one fleet
    _ending = ending
