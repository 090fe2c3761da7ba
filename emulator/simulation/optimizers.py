"""The service's optimisers as TensorFlow Federated's. A gradient there is minus the average update here."""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff  # type: ignore[import-not-found]  # in an environment of its own

from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum, ServerOptimizer

Tensors = Any  # a structure of tf.Tensor; TensorFlow 2.14 ships no types


def as_tff(optimizer: ServerOptimizer) -> Any:
    """A `tff.learning.optimizers.Optimizer` that takes the same steps."""
    match optimizer:
        case ServerAverage(learning_rate=rate):
            return tff.learning.optimizers.build_sgdm(rate)
        case ServerMomentum(learning_rate=rate, momentum=momentum):
            return tff.learning.optimizers.build_sgdm(rate, momentum)
        case ServerAdam():
            return FedAdam(optimizer)


class FedAdam(tff.learning.optimizers.Optimizer):  # type: ignore[misc]
    """Adam without bias correction, which TFF's own always has.

    Source: Reddi et al. 2021, arXiv 2003.00295, algorithm 2.
    """

    def __init__(self, parameters: ServerAdam):
        """Takes the service's parameters."""
        self._parameters = parameters

    def initialize(self, specs: Tensors) -> tuple[Tensors, Tensors]:
        """Both moments begin as zeros."""
        zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
        return zeros, zeros

    def next(
        self, state: tuple[Tensors, Tensors], weights: Tensors, gradients: Tensors
    ) -> tuple[tuple[Tensors, Tensors], Tensors]:
        """Takes one step: m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², w ← w - η·m / (√v + τ)."""
        beta1, beta2 = self._parameters.beta1, self._parameters.beta2
        rate, adaptivity = self._parameters.learning_rate, self._parameters.adaptivity
        first, second = state
        first = tf.nest.map_structure(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradients)
        second = tf.nest.map_structure(lambda v, g: beta2 * v + (1 - beta2) * tf.square(g), second, gradients)
        stepped = tf.nest.map_structure(
            lambda w, m, v: w - rate * m / (tf.sqrt(v) + adaptivity), weights, first, second
        )
        return (first, second), stepped
