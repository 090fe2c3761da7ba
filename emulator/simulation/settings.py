"""What one simulated run chooses, and the runs of a sweep."""

import math
from collections.abc import Sequence
from hashlib import sha256
from itertools import product
from typing import Literal, get_args

import msgspec

from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum, ServerOptimizer

Aggregator = Literal["mean", "gaussian", "tree"]
AGGREGATORS: tuple[Aggregator, ...] = get_args(Aggregator)
OPTIMIZERS: dict[str, type[ServerOptimizer]] = {
    "average": ServerAverage,
    "momentum": ServerMomentum,
    "adam": ServerAdam,
}


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of a sweep.

    Attributes:
      aggregator: from clipped updates to their average: without noise; with fresh Gaussian noise on each round's sum;
        or with noise of a binary tree, correlated between rounds (DP-FTRL).
      noise_multiplier: deviation of the noise, on a sum or on a node of the tree, in units of `l2_clip_norm`.
      l2_clip_norm: C, in units of weight change.
      learning_rate: of the devices.
      optimizer: the server's.
      rounds: to run.
      cohort: devices of a round, all of which report; sums are divided by it.
      seed: of the people's roles, first weights, cohorts, order of examples, and of the tree's noise.

    Raises:
      ValueError: a number out of its bound, or noise without an aggregator that adds it.

    """

    aggregator: Aggregator
    noise_multiplier: float
    l2_clip_norm: float
    learning_rate: float
    optimizer: ServerOptimizer
    rounds: int
    cohort: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("l2_clip_norm", "learning_rate"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a finite number > 0, got {getattr(self, name)}")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ValueError(f"noise_multiplier must be a finite number >= 0, got {self.noise_multiplier}")
        if self.aggregator == "mean" and self.noise_multiplier > 0:
            raise ValueError(
                f"the aggregator mean adds no noise, noise_multiplier must be 0, got {self.noise_multiplier}"
            )
        for name in ("rounds", "cohort"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    def key(self, ground: str) -> str:
        """Hexadecimal: names all that an outcome depends on, this code excepted.

        Args:
          ground: fingerprint of what all runs begin from.

        """
        return sha256(ground.encode() + b"\n" + msgspec.json.encode(self)).hexdigest()[:16]


def sweep_runs(
    *,
    aggregators: Sequence[Aggregator],
    noise_multipliers: Sequence[float],
    clip_norms: Sequence[float],
    learning_rates: Sequence[float],
    server_optimizers: Sequence[str],
    server_learning_rates: Sequence[float | None],
    rounds: int,
    cohort: int,
    seed: int,
) -> list[RunSettings]:
    """All combinations, each once.

    Args:
      aggregators: `mean` runs without noise, whatever the multipliers.
      noise_multipliers: of the other aggregators.
      clip_norms: to bound updates.
      learning_rates: of the devices.
      server_optimizers: of `OPTIMIZERS`.
      server_learning_rates: None is the optimiser's own default.
      rounds: of each run.
      cohort: of each round.
      seed: of all runs.

    Raises:
      ValueError: a number out of its bound, or noise asked for of no aggregator that adds it.

    """
    if set(aggregators) == {"mean"} and any(noise_multipliers):
        raise ValueError("noise needs the aggregator gaussian or tree, got mean alone")
    mechanisms = [
        (aggregator, noise)
        for aggregator in aggregators
        for noise in ([0.0] if aggregator == "mean" else noise_multipliers)
    ]
    chosen = product(mechanisms, clip_norms, learning_rates, server_optimizers, server_learning_rates)
    runs = [
        RunSettings(
            aggregator=aggregator,
            noise_multiplier=noise,
            l2_clip_norm=clip,
            learning_rate=rate,
            optimizer=_optimizer(optimizer, server_rate),
            rounds=rounds,
            cohort=cohort,
            seed=seed,
        )
        for (aggregator, noise), clip, rate, optimizer, server_rate in chosen
    ]
    return list(dict.fromkeys(runs))


def _optimizer(kind: str, learning_rate: float | None) -> ServerOptimizer:
    made = OPTIMIZERS[kind]
    return made() if learning_rate is None else made(learning_rate=learning_rate)
