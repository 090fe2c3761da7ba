"""Where the devices of a fleet compute: processes of this machine.

Some processes speak to the service, and are the memory of their devices, where sessions of secure aggregation live;
others train. Another engine needs `speak` and `train` only.
"""

import multiprocessing
from concurrent.futures import Future
from contextlib import ExitStack
from multiprocessing.synchronize import Event as Flag
from typing import Self

from emulator.device import EmulatedDevice, Mishap, StepResult, World, run_step
from evaluation.workers import Workers

_ending: Flag | None = None
"""In a worker: set when the rehearsal is to end."""


class Engine:
    """The worker processes of one fleet.

    Guarantees:
      When the block ends, for whatever reason, what computes is asked to stop, as a device's runtime is when its
      process must end; steps that were not finished will be taken again by whoever goes on.
    """

    def __init__(self, num_workers: int, lanes: int = 1):
        """Args: `num_workers` processes train; `lanes` others speak to the service, for a share of the devices each."""
        self._ending = multiprocessing.get_context("spawn").Event()
        self._trainers = Workers(num_workers, begin=_begin_worker, arguments=(self._ending,))
        self._speakers = [Workers(1, begin=_begin_worker, arguments=(self._ending,)) for _ in range(lanes)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for speaker in self._speakers:
            self._stack.enter_context(speaker)
        self._stack.enter_context(self._trainers)
        self._stack.callback(self._ending.set)  # what is registered last comes first
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def speak(
        self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None
    ) -> "Future[StepResult]":
        """Begins a step that may talk to the service; steps of one lane follow each other."""
        speaker = self._speakers[device.index % len(self._speakers)]
        return speaker.submit(_run, world, device, now, mishap, True)

    def train(
        self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None
    ) -> "Future[StepResult]":
        """Begins a step that trains, and says nothing to the service: several of these run at once."""
        return self._trainers.submit(_run, world, device, now, mishap, False)


def _run(world: World, device: EmulatedDevice, now: float, mishap: Mishap | None, may_refresh: bool) -> StepResult:
    flag = _ending
    if flag is None:
        raise RuntimeError("a worker must have begun before it runs a step")
    return run_step(world, device, now=now, mishap=mishap, is_ending=flag.is_set, may_refresh=may_refresh)


def _begin_worker(ending: Flag) -> None:
    global _ending  # noqa: PLW0603  # a worker process serves one fleet
    _ending = ending
