"""Pre-training on public text: Adam over the hand-written gradient."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.backward import Batch, gradient
from model.network import NetworkShape
from protocol.weights import Weights
from tokenizer.examples import Examples, pad_to_batches
from tokenizer.vocabulary import Vocabulary

_NEVER_A_TARGET_MARGIN = 5.0


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
    on_step: Callable[[float], None] = lambda loss: None,
) -> Weights:
    """Trains `weights` on `examples`.

    Args:
      shape: sizes of the network.
      weights: to begin with; not changed.
      examples: sequences of public text.
      epochs: passes over them, each in another order.
      batch_size: sequences a step.
      learning_rate: Adam's at the beginning; falls linearly to a tenth.
      seed: of the order; public text's order is no secret.
      on_step: called with the loss after each step, for progress bars.

    Returns:
      The trained weights, float32 by name.

    """
    steps = count_steps(examples, batch_size=batch_size, epochs=epochs)
    schedule = tf.keras.optimizers.schedules.PolynomialDecay(learning_rate, max(1, steps), learning_rate / 10)
    optimizer = tf.keras.optimizers.Adam(schedule)
    variables = {spec.name: tf.Variable(weights[spec.name], name=spec.name) for spec in shape.tensors}
    optimizer.build(list(variables.values()))

    @tf.function(autograph=False)
    def step(tokens: tf.Tensor, targets: tf.Tensor, target_weights: tf.Tensor) -> tf.Tensor:
        values = {name: variable.read_value() for name, variable in variables.items()}
        result = gradient(values, Batch(tokens, targets, target_weights))
        optimizer.apply_gradients([(result.by_name[name], variable) for name, variable in variables.items()])
        return result.loss

    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(examples.tokens))
        shuffled = Examples(*(array[order] for array in examples))
        for batch in pad_to_batches(shuffled, batch_size):
            on_step(float(step(*(tf.constant(array) for array in batch))))
    return {name: variable.numpy() for name, variable in variables.items()}
