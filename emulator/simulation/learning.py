"""The network and its rounds as a TensorFlow Federated learning process.

Forward pass and plan are the product's. What checks it is TFF's: the gradient by TensorFlow's automatic differentiation
instead of the hand-written one in TFLite, the clients' loop, clipping, averaging, noise and the server's step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff  # type: ignore[import-not-found]  # in an environment of its own

from emulator.simulation.optimizers import as_tff
from emulator.simulation.settings import RunSettings
from model.forward import Tensor, forward_logits, zero_state
from protocol.plan import TensorSpec, TrainingParameters
from protocol.weights import Weights
from tokenizer.examples import Examples, pad_to_batches


class Simulation:
    """A model on TFF's server, and the rounds that it learns from. Lives inside of `tff_runtime`."""

    def __init__(self, run: RunSettings, training: TrainingParameters, tensors: Sequence[TensorSpec], first: Weights):
        """Builds the process.

        Args:
          run: what this run chooses.
          training: of the devices; its learning rate gives way to the run's.
          tensors: names and shapes of the weights.
          first: weights to begin with.

        """
        self._training = training
        self._names = [spec.name for spec in tensors]
        self._process = tff.learning.algorithms.build_unweighted_fed_avg(
            _model(first, self._names, training),
            tff.learning.optimizers.build_sgdm(run.learning_rate),
            as_tff(run.optimizer),
            model_aggregator=aggregator(run, tensors),
        )
        self._state = self._process.initialize()
        self.lost_rounds = 0
        """Rounds whose average was not finite: TFF leaves the model as it was, as the service does."""

    def close_round(self, cohort: Sequence[tuple[Examples, int]]) -> None:
        """Trains a cohort and steps.

        Args:
          cohort: for each device its examples and the seed of their order.

        """
        datasets = [_dataset(examples, seed, self._training) for examples, seed in cohort]
        output = self._process.next(self._state, datasets)
        self._state = output.state
        self.lost_rounds += int(output.metrics["finalizer"]["update_non_finite"])

    @property
    def weights(self) -> Weights:
        """Of the model now, by name."""
        trainable = self._process.get_model_weights(self._state).trainable
        return {name: np.array(value) for name, value in zip(self._names, trainable, strict=True)}


def aggregator(run: RunSettings, tensors: Sequence[TensorSpec]) -> Any:
    """TFF's aggregator of clipped updates: their sum, noised as the run says, divided by the cohort.

    The Gaussian noise follows no seed; the tree's does.
    """
    if run.aggregator == "mean":
        return tff.aggregators.clipping_factory(run.l2_clip_norm, tff.aggregators.UnweightedMeanFactory())
    private = tff.aggregators.DifferentiallyPrivateFactory
    noise = (run.noise_multiplier, float(run.cohort), run.l2_clip_norm)
    if run.aggregator == "gaussian":
        return private.gaussian_fixed(*noise)
    specs = tuple(tf.TensorSpec(spec.shape, tf.float32) for spec in tensors)
    return private.tree_aggregation(*noise, specs, noise_seed=run.seed)


def batches(examples: Examples, seed: int, training: TrainingParameters) -> Examples:
    """Every batch of local training, in the order in which the device with this seed trains on them.

    Returns:
      As `Examples`, with one more axis in front: [steps, batch_size, sequence_length].

    """
    generator = np.random.default_rng(seed)
    ordered: list[Examples] = []
    for _ in range(training.local_epochs):
        order = generator.permutation(len(examples.tokens))
        ordered += pad_to_batches(Examples(*(array[order] for array in examples)), training.batch_size)
    return Examples(*(np.stack(arrays) for arrays in zip(*ordered, strict=True)))


def _dataset(examples: Examples, seed: int, training: TrainingParameters) -> Any:
    tokens, targets, target_weights = batches(examples, seed, training)
    return tf.data.Dataset.from_tensor_slices((tokens, (targets, target_weights)))


def _model(first: Weights, names: Sequence[str], training: TrainingParameters) -> Any:
    """A `tff.learning.models.FunctionalModel`; the loss is the mean over the targets that count, as in the product."""

    def logits(model_weights: tuple[Sequence[Tensor], Sequence[Tensor]], tokens: Tensor, training: bool) -> Tensor:
        weights = dict(zip(names, model_weights[0], strict=True))
        return forward_logits(weights, tokens, zero_state(tokens.shape[0], weights))[0]

    def loss(output: Tensor, label: tuple[Tensor, Tensor], sample_weight: None = None) -> Tensor:
        targets, target_weights = label
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, output)  # [batch, length]
        return tf.reduce_sum(losses * target_weights) / tf.maximum(tf.reduce_sum(target_weights), 1.0)

    form = [training.batch_size, training.sequence_length]
    ids, shares = tf.TensorSpec(form, tf.int32), tf.TensorSpec(form, tf.float32)
    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(first[name] for name in names), ()),
        predict_on_batch_fn=tf.function(logits, autograph=False),
        loss_fn=loss,
        input_spec=(ids, (ids, shares)),
    )
