"""The network's shape: names and sizes of its weights, and their first values.

A coupled input-forget gate LSTM (CIFG; Greff et al. 2017, arXiv 1503.04069, variant 3) with a recurrent projection
(Sak et al. 2014, arXiv 1402.1128) and a tied embedding, as in Gboard (arXiv 1811.03604, section 2).

| name in code                | paper's symbol | shape                     |
|-----------------------------|----------------|---------------------------|
| embedding                   | D, tied        | [vocabulary, embedding]   |
| input_kernel                | W              | [embedding, 3 * units]    |
| recurrent_kernel            | U              | [embedding, 3 * units]    |
| gate_bias                   | b              | [3 * units]               |
| projection                  | P              | [units, embedding]        |
| output_bias                 | b_o            | [vocabulary]              |

The three gates lie side by side: input gate (the forget gate is 1 minus it), output gate, candidate.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.plan import TensorSpec
from protocol.weights import Weights

NUM_GATES = 3


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Sizes of a network."""

    vocabulary_size: int
    embedding_size: int
    num_units: int

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "embedding_size", "num_units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Names and shapes of all weights, in the order of an update."""
        gates = NUM_GATES * self.num_units
        return (
            TensorSpec(name="embedding", shape=(self.vocabulary_size, self.embedding_size)),
            TensorSpec(name="input_kernel", shape=(self.embedding_size, gates)),
            TensorSpec(name="recurrent_kernel", shape=(self.embedding_size, gates)),
            TensorSpec(name="gate_bias", shape=(gates,)),
            TensorSpec(name="projection", shape=(self.num_units, self.embedding_size)),
            TensorSpec(name="output_bias", shape=(self.vocabulary_size,)),
        )

    @property
    def num_weights(self) -> int:
        """Parameters in all; 1,422,250 for `FULL`."""
        return sum(spec.size for spec in self.tensors)


FULL = NetworkShape(vocabulary_size=10_000, embedding_size=96, num_units=670)
"""Gboard's: 1,422,250 parameters."""

SMALL = NetworkShape(vocabulary_size=1_000, embedding_size=24, num_units=48)
"""For tests and quick runs: 33,208 parameters."""


def initial_weights(
    shape: NetworkShape, seed: int, log_probabilities: npt.NDArray[np.float32] | None = None
) -> Weights:
    """Draws the first weights.

    Args:
      shape: sizes of the network.
      seed: of numpy's generator; first weights are no secret.
      log_probabilities: float [vocabulary]; where given, the output bias starts as them, so that training begins at
        the unigram distribution instead of first having to learn it.

    Returns:
      Glorot-uniform kernels, a normal embedding of standard deviation 0.1, zero biases.

    """
    generator = np.random.default_rng(seed)
    weights: Weights = {}
    for spec in shape.tensors:
        if spec.name.endswith("bias"):
            value = np.zeros(spec.shape)
        elif spec.name == "embedding":
            value = generator.normal(0.0, 0.1, spec.shape)
        else:
            fan_in, fan_out = spec.shape[0], spec.shape[1] // (NUM_GATES if spec.name.endswith("kernel") else 1)
            limit = np.sqrt(6.0 / (fan_in + fan_out))
            value = generator.uniform(-limit, limit, spec.shape)
        weights[spec.name] = value.astype(np.float32)
    if log_probabilities is not None:
        weights["output_bias"] = np.asarray(log_probabilities, dtype=np.float32).copy()
    return weights
