"""Local training by the device's own trainer, in processes that hold what a device holds. No TensorFlow here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from device_runtime.rounds.trainer import LocalUpdate, train
from evaluation.workers import Workers
from protocol.plan import Plan
from protocol.weights import Weights
from tokenizer.vocabulary import Vocabulary


class Job(NamedTuple):
    """What one device trains on; `texts` are never shown."""

    texts: Sequence[str]
    seed: int


class Trainers(Protocol):
    """Whoever trains a cohort."""

    def train(self, checkpoint: Weights, jobs: Sequence[Job]) -> list[LocalUpdate]:
        """Trains each job from `checkpoint`; the same jobs give the same updates, in the same order."""
        ...


class OneProcess:
    """Trains one device after the other, here."""

    def __init__(self, plan: Plan, graph: bytes, vocabulary: bytes):
        """Takes the plan, the TFLite training graph and the vocabulary's model."""
        self._plan, self._graph, self._vocabulary = plan, graph, Vocabulary(vocabulary)

    def train(self, checkpoint: Weights, jobs: Sequence[Job]) -> list[LocalUpdate]:
        """See `Trainers.train`."""
        return [self.train_one(checkpoint, job) for job in jobs]

    def train_one(self, checkpoint: Weights, job: Job) -> LocalUpdate:
        """Trains one device as it would train itself."""
        return train(
            *(self._plan, self._graph, checkpoint, job.texts, self._vocabulary),
            seed=job.seed,
            should_stop=lambda: False,
        )


class Processes:
    """Trains several devices at a time, each on one thread of a process of its own."""

    def __init__(self, workers: Workers):
        """Takes workers of `open_trainers`."""
        self._workers = workers

    def train(self, checkpoint: Weights, jobs: Sequence[Job]) -> list[LocalUpdate]:
        """See `Trainers.train`."""
        training = [self._workers.submit(_train_here, checkpoint, job) for job in jobs]
        return [each.result() for each in training]


@contextmanager
def open_trainers(plan: Plan, graph: bytes, vocabulary: Vocabulary, num_workers: int) -> Iterator[Trainers]:
    """Trainers in `num_workers` processes, or in this one if that is 0; ended with the block."""
    if num_workers == 0:
        yield OneProcess(plan, graph, vocabulary.model)
        return
    with Workers(num_workers, begin=_begin, arguments=(plan, graph, vocabulary.model)) as workers:
        yield Processes(workers)


_here: list[OneProcess] = []
"""The trainer of a worker process, set once when it begins."""


def _begin(plan: Plan, graph: bytes, vocabulary: bytes) -> None:
    _here.append(OneProcess(plan, graph, vocabulary))


def _train_here(checkpoint: Weights, job: Job) -> LocalUpdate:
    return _here[0].train_one(checkpoint, job)
