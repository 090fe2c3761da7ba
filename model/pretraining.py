"""Training on pooled text, on a workstation: Adam over the hand-written gradient."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.backward import Batch, gradient
from model.network import NetworkShape
from protocol.weights import Weights
from tokenizer.examples import Examples, pad_to_batches
from tokenizer.vocabulary import Vocabulary

_NEVER_A_TARGET_MARGIN = 5.0
_LAST_SHARE = 0.1  # of the learning rate, at the end


def unigram_bias(vocabulary: Vocabulary) -> npt.NDArray[np.float32]:
    """The output bias to begin with: log shares of the words; ids that are no targets lie below the rarest word.

    Returns:
      float32 [vocabulary].

    """
    shares = np.array(vocabulary.log_probabilities, dtype=np.float32)
    is_target = np.zeros(len(vocabulary), dtype=bool)
    is_target[list(vocabulary.target_ids)] = True
    return np.where(is_target, shares, shares[is_target].min() - _NEVER_A_TARGET_MARGIN).astype(np.float32)


def count_steps(examples: Examples, *, batch_size: int, epochs: int) -> int:
    """Optimiser steps that `pretrain` takes."""
    return epochs * -(-len(examples.tokens) // batch_size)


def pretrain(
    shape: NetworkShape,
    weights: Weights,
    examples: Examples,
    *,
    epochs: int,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    seed: int = 0,
    keep: Path | None = None,
    on_step: Callable[[float], None] = lambda loss: None,
) -> Weights:
    """Trains `weights` on `examples`.

    Args:
      shape: sizes of the network.
      weights: to begin with; not changed.
      examples: sequences of text.
      epochs: passes over them, each in another order.
      batch_size: sequences a step.
      learning_rate: Adam's at the beginning; falls linearly to a tenth.
      seed: of the order; pooled text's order is no secret.
      keep: folder in which each epoch's end is kept, so that the same call goes on from there; None keeps nothing.
      on_step: called with the loss after each step, for progress bars; with NaN for steps of epochs that were kept.

    Returns:
      The trained weights, float32 by name.

    """
    steps = count_steps(examples, batch_size=batch_size, epochs=epochs)
    trainer = _Trainer(shape, weights, learning_rate, steps)
    kept = _Kept(trainer, keep)
    for epoch in range(epochs):
        if epoch < kept.epochs:
            for _ in range(steps // epochs):
                on_step(float("nan"))
            continue
        for batch in _shuffled(examples, batch_size, np.random.default_rng([seed, epoch])):
            on_step(float(trainer.step(*(tf.constant(array) for array in batch))))
        kept.save(epoch + 1)
    return trainer.weights


class _Trainer:
    """Variables, Adam, and a step."""

    def __init__(self, shape: NetworkShape, weights: Weights, learning_rate: float, steps: int):
        schedule = tf.keras.optimizers.schedules.PolynomialDecay(
            learning_rate, max(1, steps), learning_rate * _LAST_SHARE
        )
        self.variables = {spec.name: tf.Variable(weights[spec.name], name=spec.name) for spec in shape.tensors}
        self.optimizer = tf.keras.optimizers.Adam(schedule)
        self.optimizer.build(list(self.variables.values()))
        self.step = tf.function(self._step, autograph=False)

    @property
    def weights(self) -> Weights:
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def _step(self, tokens: tf.Tensor, targets: tf.Tensor, target_weights: tf.Tensor) -> tf.Tensor:
        values = {name: variable.read_value() for name, variable in self.variables.items()}
        result = gradient(values, Batch(tokens, targets, target_weights))
        pairs = [(result.by_name[name], variable) for name, variable in self.variables.items()]
        self.optimizer.apply_gradients(pairs)
        return result.loss


class _Kept:
    """The end of the newest epoch on disk, Adam's moments included."""

    def __init__(self, trainer: _Trainer, folder: Path | None):
        self._epochs = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._manager = None
        if folder is not None:
            state = tf.train.Checkpoint(epochs=self._epochs, optimizer=trainer.optimizer, **trainer.variables)
            self._manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=1)
            self._manager.restore_or_initialize()

    @property
    def epochs(self) -> int:
        return int(self._epochs.numpy())

    def save(self, epochs: int) -> None:
        self._epochs.assign(epochs)
        if self._manager is not None:
            self._manager.save(checkpoint_number=epochs)


def _shuffled(examples: Examples, batch_size: int, generator: np.random.Generator) -> Iterator[Examples]:
    order = generator.permutation(len(examples.tokens))
    yield from pad_to_batches(Examples(*(array[order] for array in examples)), batch_size)
