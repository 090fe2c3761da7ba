"""What a device reports in an evaluation round: hits and counts of two models on its own log, as one short vector."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from protocol.arrays import FloatArray
from protocol.plan import NUM_EVALUATION_SUMS

LOSS_UNIT_NATS = 8.0
"""What a 1 stands for where the vector holds a loss. A word costs some 5 nats, so that in nats the losses would take
most of the vector's norm, and clipping would leave the hits, which decide, deep in the noise."""


class ModelSums(NamedTuple):
    """One model on the words of a log, or of many logs: targets among its first and first three, and loss in nats."""

    top1_hits: float
    top3_hits: float
    loss_nats: float


NO_MODEL = ModelSums(0.0, 0.0, 0.0)


class EvaluationSums(NamedTuple):
    """Two models on the same words; `NO_MODEL` stands for a baseline that there is not."""

    candidate: ModelSums
    baseline: ModelSums
    num_targets: float

    def to_vector(self) -> FloatArray:
        """Device: float32 [`NUM_EVALUATION_SUMS`], candidate, baseline, number of targets; not yet clipped."""
        parts = [*_in_units(self.candidate), *_in_units(self.baseline), self.num_targets]
        return np.array(parts, dtype=np.float32)

    @classmethod
    def from_vector(cls, vector: npt.NDArray[np.float64] | FloatArray) -> Self:
        """Service: reads [`NUM_EVALUATION_SUMS`], also a sum over devices with noise on it.

        Raises:
          ValueError: of another length.

        """
        if vector.shape != (NUM_EVALUATION_SUMS,):
            raise ValueError(f"an evaluation must have {NUM_EVALUATION_SUMS} sums, got shape {list(vector.shape)}")
        values = [float(value) for value in vector]
        return cls(_in_nats(*values[:3]), _in_nats(*values[3:6]), values[6])


def _in_units(model: ModelSums) -> ModelSums:
    return model._replace(loss_nats=model.loss_nats / LOSS_UNIT_NATS)


def _in_nats(top1_hits: float, top3_hits: float, loss_units: float) -> ModelSums:
    return ModelSums(top1_hits, top3_hits, loss_units * LOSS_UNIT_NATS)
