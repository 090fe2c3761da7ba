"""Federated rounds in one process: the devices' trainer and clipping, the service's optimiser and noise. No network.

`keychorus demo` runs the same rounds over HTTP, with a service that keeps books; here hundreds of rounds are to be
affordable. Secure aggregation changes nothing of a sum but its rounding (`keychorus rehearse codec`).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from aggregation_service.privacy.grid_noise import finest_grid
from aggregation_service.privacy.mechanisms.streams import NoiseStream
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.rounds.optimizer import Step, decode_state, encode_state
from device_runtime.storage.files import write_atomically
from evaluation.experiments.book import CurvePoint
from evaluation.experiments.settings import Federated, Noise
from evaluation.rehearsal.local_training import Job, Trainers
from evaluation.rehearsal.people import cohorts_in_turn, draw_seed
from model.averaging import tail_average
from model.network import NetworkShape
from protocol.clipping import clip_to_norm
from protocol.weights import Weights, decode_checkpoint, encode_checkpoint, encode_served, flatten, unflatten

KEEP_EVERY = 5
"""Rounds: as many are lost at most when an experiment is interrupted."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run needs to go on."""

    rounds: int
    weights: bytes
    state: bytes
    recent: tuple[bytes, ...]
    stream: bytes | None
    curve: tuple[CurvePoint, ...]


@dataclass
class Server:
    """The server's side of the rounds."""

    training: Federated
    shape: NetworkShape
    step: Step
    stream: NoiseStream | None
    recent: list[Weights] = field(default_factory=list)
    rounds: int = 0
    curve: list[CurvePoint] = field(default_factory=list)

    @classmethod
    def begin(cls, training: Federated, shape: NetworkShape, start: Weights) -> "Server":
        """Before the first round."""
        weights = flatten(start, shape.tensors)
        first = Step(weights, decode_state(training.optimizer, None, weights.size))
        return cls(training, shape, first, _stream(training.noise, weights.size))

    def served(self) -> Weights:
        """What devices train from: the checkpoint as they download it, in float16."""
        return decode_checkpoint(encode_served(unflatten(self.step.weights, self.shape.tensors)), self.shape.tensors)

    def close(self, total: SumArray) -> None:
        """Adds noise to a round's sum, and steps."""
        noised = total if self.stream is None else _with_noise(total, self.training, self.stream)
        self.step = self.training.optimizer.step(self.step.weights, self.step.state, noised / self.training.reports)
        self.recent.append(unflatten(self.step.weights, self.shape.tensors))
        del self.recent[: -self.training.averaged]
        self.rounds += 1

    def candidate(self) -> Weights:
        """What would be released now."""
        return tail_average(self.recent, self.training.averaged)

    def to_bytes(self) -> bytes:
        """Writes all that changes from round to round."""
        kept = _Kept(
            rounds=self.rounds,
            weights=self.step.weights.tobytes(),
            state=encode_state(self.step.state),
            recent=tuple(encode_checkpoint(weights) for weights in self.recent),
            stream=None if self.stream is None else self.stream.to_bytes(),
            curve=tuple(self.curve),
        )
        return msgspec.msgpack.encode(kept)

    def resume(self, content: bytes) -> None:
        """Goes on from what `to_bytes` wrote for the same settings."""
        kept = msgspec.msgpack.decode(content, type=_Kept)
        weights = np.frombuffer(kept.weights, np.float32)
        self.step = Step(weights, decode_state(self.training.optimizer, kept.state, weights.size))
        self.recent = [decode_checkpoint(payload, self.shape.tensors) for payload in kept.recent]
        self.stream = _stream(self.training.noise, weights.size, kept.stream)
        self.rounds, self.curve = kept.rounds, list(kept.curve)


def run_rounds(
    server: Server,
    people: Mapping[str, Sequence[str]],
    trainers: Trainers,
    *,
    keep: Path,
    curve_top1: Callable[[Weights], float],
    curve_every: int,
    on_round: Callable[[], None],
    public: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Weights:
    """Runs all rounds that are left.

    Args:
      server: as `Server.begin` gives it; goes on from what `keep` has of an earlier run.
      people: texts by device.
      trainers: train a cohort.
      keep: folder of the run's state.
      curve_top1: measures what would be released.
      curve_every: after how many rounds it is called, again and again.
      on_round: called for each round, also for those that were run earlier.
      public: texts by device of the operator's own, if the settings have any.

    Returns:
      The average of the newest checkpoints.

    """
    training, state = server.training, keep / "server.msgpack"
    if state.exists():
        server.resume(state.read_bytes())
    for _ in range(server.rounds):
        on_round()
    texts = {**public, **people}
    for cohort in islice(_cohorts(training, people, public), server.rounds, training.rounds):
        server.close(_sum(server, cohort, texts, trainers))
        if server.rounds % curve_every == 0:
            server.curve.append(CurvePoint(round=server.rounds, top1=curve_top1(server.candidate())))
        if server.rounds % KEEP_EVERY == 0 or server.rounds == training.rounds:
            write_atomically(state, server.to_bytes())
        on_round()
    return server.candidate()


def _cohorts(
    training: Federated, people: Mapping[str, Sequence[str]], public: Mapping[str, Sequence[str]]
) -> Iterator[list[str]]:
    """Of each round, with the operator's own devices."""
    own = cohorts_in_turn(sorted(people), training.cohort, training.seed)
    if not training.public_devices:
        return own
    theirs = cohorts_in_turn(sorted(public), training.public_devices, training.seed)
    return (one + another for one, another in zip(own, theirs, strict=True))


def _sum(server: Server, cohort: Sequence[str], texts: Mapping[str, Sequence[str]], trainers: Trainers) -> SumArray:
    """The sum of the cohort's clipped updates; one that is not finite counts as zero, as if it had not reported."""
    training, number = server.training, server.rounds + 1
    jobs = [Job(texts[user], draw_seed(training.seed, "device", number, user)) for user in cohort]
    total = np.zeros(server.step.weights.size)
    for local in trainers.train(server.served(), jobs):
        if np.isfinite(local.update).all():
            total += clip_to_norm(local.update, training.l2_clip_norm).update
    return total


def _stream(noise: Noise | None, size: int, state: bytes | None = None) -> NoiseStream | None:
    return None if noise is None else NoiseStream(noise.mechanism, size, context="experiment", state=state)


def _with_noise(total: SumArray, training: Federated, stream: NoiseStream) -> SumArray:
    """Exact noise on the grid, as the service adds it, scaled as `Noise` says."""
    noise = training.noise
    if noise is None:
        raise ValueError("noise must be set where there is a stream, got None")
    grid = finest_grid(noise.noise_multiplier * training.l2_clip_norm * training.cohort / noise.cohort)
    return grid.from_grid(grid.to_grid(total) + stream.next(partial(grid.draw, total.size, os.urandom)))
