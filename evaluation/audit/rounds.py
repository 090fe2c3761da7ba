"""Rounds in one process whose sums can be looked at: the devices' trainer, the service's checks, sums and optimiser."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from aggregation_service.rounds.accumulator import PartialSum, SumArray
from aggregation_service.rounds.optimizer import Step, decode_state
from evaluation.audit.noises import Noise
from evaluation.rehearsal.local_training import Job, Trainers
from evaluation.rehearsal.people import draw_cohorts, draw_seed
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.rehearsal.ways import Sent, received
from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm
from protocol.plan import Plan
from protocol.weights import unflatten

_AT_A_TIME = 64


class Cohorts(Protocol):
    """Whoever trains in a task's rounds."""

    def reports(self, weights: FloatArray, number: int) -> Iterable[Sent]:
        """What the devices of round `number`, from 0, send when they begin at `weights`, float32 [num_weights]."""
        ...


class Closed(NamedTuple):
    """A round's sum as it is released, float64 [num_weights], and the weights that it leads to, float32."""

    released: SumArray
    weights: FloatArray


class RealCohorts:
    """Devices that train on their people's texts, on the real TFLite graph."""

    def __init__(self, settings: RehearsalSettings, texts: Mapping[str, Sequence[str]], trainers: Trainers):
        """Takes who has which texts, never shown, and who trains."""
        self._settings, self._texts, self._trainers = settings, texts, trainers
        self.cohorts = draw_cohorts(sorted(texts), settings)

    def reports(self, weights: FloatArray, number: int) -> Iterator[Sent]:
        """See `Cohorts.reports`. A device whose training diverged does not report."""
        seed = self._settings.seed
        jobs = [Job(self._texts[name], draw_seed(seed, "device", number, name)) for name in self.cohorts[number]]
        checkpoint = unflatten(weights, self._settings.shape.tensors)
        for local in self._trainers.train(checkpoint, jobs):
            if np.isfinite(local.update).all():
                clipped = clip_to_norm(local.update, self._settings.l2_clip_norm)
                yield Sent(clipped.update, forged=False)


def add_up(sent: Iterable[Sent], plan: Plan) -> SumArray:
    """The service's sum of what it received, float64 [num_weights], each update clipped again."""
    total, waiting = PartialSum(plan.update_size), iter(sent)
    while some := list(islice(waiting, _AT_A_TIME)):
        total.propose(received(some, plan))
        total.accept()
    return total.total


def run_rounds(
    settings: RehearsalSettings, weights: FloatArray, cohorts: Cohorts, noise: Noise, report_goal: int
) -> Iterator[Closed]:
    """Runs a task.

    Args:
      settings: of the rounds.
      weights: float32 [num_weights], before the first.
      cohorts: who trains.
      noise: on each sum.
      report_goal: by which a sum is divided.

    Yields:
      What each round came to.

    """
    plan, optimizer = settings.plain_plan, settings.optimizer
    step = Step(weights, decode_state(optimizer, None, weights.size))
    for number in range(settings.rounds):
        released = noise.add(add_up(cohorts.reports(step.weights, number), plan))
        step = optimizer.step(step.weights, step.state, released / report_goal)
        yield Closed(released, step.weights)
