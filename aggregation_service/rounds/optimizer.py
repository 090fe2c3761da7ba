"""The server's optimisers: from the average update to new weights.

They work on what was noised already, so they cost no privacy (post-processing).
"""

import math
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from aggregation_service.rounds.accumulator import SumArray
from protocol.arrays import FloatArray

LearningRate = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Step(NamedTuple):
    """What a step leaves: new weights, and the optimiser's state; each float32 [num_weights]."""

    weights: FloatArray
    state: tuple[FloatArray, ...]


class _Optimizer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Checks bounds when it is made in a program, as msgspec does when it is decoded."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"server_{name} must be finite, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1000:  # type: ignore[attr-defined]
            raise ValueError(f"server_learning_rate must be in (0, 1000], got {self.learning_rate}")  # type: ignore[attr-defined]

    @property
    def num_state_vectors(self) -> int:
        """How many vectors like the weights the state holds."""
        return 0


class ServerAverage(_Optimizer, frozen=True, kw_only=True, tag="average"):
    """FedAvg: w ← w + η·Δw. Source: McMahan et al. 2017, arXiv 1602.05629, algorithm 1 (η = 1)."""

    learning_rate: LearningRate = 1.0

    def step(self, weights: FloatArray, state: tuple[FloatArray, ...], average: SumArray) -> Step:
        """Applies one step; arguments stay as they were. `average` is float64 [num_weights]; `state` is empty."""
        return Step((weights + self.learning_rate * average).astype(np.float32), state)


class ServerMomentum(_Optimizer, frozen=True, kw_only=True, tag="momentum"):
    """FedAvgM.

    | here            | paper |
    |-----------------|-------|
    | `average`       | Δw    |
    | `velocity`      | v     |
    | `momentum`      | β     |
    | `learning_rate` | η     |

    Raises:
      ValueError: momentum not in [0, 1), or learning rate not in (0, 1000].

    Source: Hsu, Qi, Brown 2019, arXiv 1909.06335, section 4.3.

    """

    momentum: Decay = 0.9
    learning_rate: LearningRate = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay("momentum", self.momentum)

    @property
    def num_state_vectors(self) -> int:
        """The velocity."""
        return 1

    def step(self, weights: FloatArray, state: tuple[FloatArray, ...], average: SumArray) -> Step:
        """Applies one step: v ← β·v + Δw, w ← w + η·v.

        Args:
          weights: float32 [num_weights].
          state: the velocity, float32 [num_weights], zero at the first step.
          average: float64 [num_weights], the noised average of the updates.

        Guarantees:
          The arguments stay as they were; sums are formed in float64 and rounded once.

        """
        (velocity,) = state
        moved = self.momentum * velocity.astype(np.float64) + average  # v ← β·v + Δw
        stepped = weights + self.learning_rate * moved  # w ← w + η·v
        return Step(stepped.astype(np.float32), (moved.astype(np.float32),))


class ServerAdam(_Optimizer, frozen=True, kw_only=True, tag="adam"):
    """FedAdam, without bias correction, as in the paper.

    | here            | paper |
    |-----------------|-------|
    | `average`       | Δ     |
    | `first`         | m     |
    | `second`        | v     |
    | `beta1`         | β₁    |
    | `beta2`         | β₂    |
    | `adaptivity`    | τ     |
    | `learning_rate` | η     |

    The paper begins with v ≥ τ²; here with v = 0, which the τ in the denominator covers.

    Raises:
      ValueError: a parameter out of its bound.

    Source: Reddi et al. 2021, arXiv 2003.00295, algorithm 2.

    """

    learning_rate: LearningRate = 0.01
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    adaptivity: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay("beta1", self.beta1)
        _check_decay("beta2", self.beta2)
        if not 0 < self.adaptivity <= 1:
            raise ValueError(f"server_adaptivity must be in (0, 1], got {self.adaptivity}")

    @property
    def num_state_vectors(self) -> int:
        """First and second moment."""
        return 2

    def step(self, weights: FloatArray, state: tuple[FloatArray, ...], average: SumArray) -> Step:
        """Applies one step: m ← β₁m + (1-β₁)Δ, v ← β₂v + (1-β₂)Δ², w ← w + η·m / (√v + τ).

        Args:
          weights: float32 [num_weights].
          state: the two moments, each float32 [num_weights], zero at the first step.
          average: float64 [num_weights], the noised average of the updates.

        Guarantees:
          The arguments stay as they were; sums are formed in float64 and rounded once.

        """
        first, second = (moment.astype(np.float64) for moment in state)
        first = self.beta1 * first + (1 - self.beta1) * average
        second = self.beta2 * second + (1 - self.beta2) * np.square(average)
        stepped = weights + self.learning_rate * first / (np.sqrt(second) + self.adaptivity)
        return Step(stepped.astype(np.float32), (first.astype(np.float32), second.astype(np.float32)))


ServerOptimizer = ServerAverage | ServerMomentum | ServerAdam


def encode_state(state: tuple[FloatArray, ...]) -> bytes:
    """Writes a state as little-endian float32, one vector after the other."""
    return b"".join(vector.astype("<f4", copy=False).tobytes() for vector in state)


def decode_state(optimizer: ServerOptimizer, content: bytes | None, num_weights: int) -> tuple[FloatArray, ...]:
    """Reads a state; zeros where there is none, or where another optimiser left one of another length."""
    count = optimizer.num_state_vectors
    if content is None or len(content) != 4 * count * num_weights:
        return tuple(np.zeros(num_weights, np.float32) for _ in range(count))
    return tuple(np.frombuffer(content, "<f4").reshape(count, num_weights))


def _check_decay(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"server_{name} must be in [0, 1), got {value}")
