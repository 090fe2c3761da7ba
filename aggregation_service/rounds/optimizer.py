"""The server's optimiser: from the average update to new weights."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aggregation_service.rounds.accumulator import SumArray
from protocol.weights import FloatArray


class Step(NamedTuple):
    """What a step leaves: new weights and the optimiser's state, both float32 [num_weights]."""

    weights: FloatArray
    velocity: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerMomentum:
    """FedAvgM. Works on what was noised already, so it costs no privacy (post-processing).

    | here            | paper |
    |-----------------|-------|
    | `average`       | Δw    |
    | `velocity`      | v     |
    | `momentum`      | β     |
    | `learning_rate` | η     |

    Raises:
      ValueError: momentum not in [0, 1), or learning rate not a finite number > 0.

    Source: Hsu, Qi, Brown 2019, arXiv 1909.06335, section 4.3.

    """

    momentum: float
    learning_rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"server_momentum must be in [0, 1), got {self.momentum}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"server_learning_rate must be a finite number > 0, got {self.learning_rate}")

    def step(self, weights: FloatArray, velocity: FloatArray, average: SumArray) -> Step:
        """Applies one step: v ← β·v + Δw, w ← w + η·v.

        Args:
          weights: float32 [num_weights].
          velocity: float32 [num_weights], zero at the first step.
          average: float64 [num_weights], the noised average of the updates.

        Guarantees:
          The arguments stay as they were; sums are formed in float64 and rounded once.

        """
        moved = self.momentum * velocity.astype(np.float64) + average  # v ← β·v + Δw
        stepped = weights + self.learning_rate * moved  # w ← w + η·v
        return Step(stepped.astype(np.float32), moved.astype(np.float32))
