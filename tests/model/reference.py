"""An independent network for the tests: step by step from the equations, differentiated by TensorFlow's tape."""

import numpy as np
import tensorflow as tf

from tokenizer.vocabulary import START_ID


def random_batch(shape, batch_size, length, seed=0):
    generator = np.random.default_rng(seed)
    form = (batch_size, length)
    return (
        generator.integers(0, shape.vocabulary_size, form).astype(np.int32),
        generator.integers(0, shape.vocabulary_size, form).astype(np.int32),
        (generator.random(form) < 0.8).astype(np.float32),
    )


def random_weights(shape, seed=0):
    generator = np.random.default_rng(seed)
    return {spec.name: (0.3 * generator.normal(size=spec.shape)).astype(np.float32) for spec in shape.tensors}


def tape_loss_and_gradient(weights, batch):
    variables = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
    with tf.GradientTape() as tape:
        for variable in variables.values():
            tape.watch(variable)
        loss = _loss(variables, *batch)
    gradient = tape.gradient(loss, variables)
    return float(loss), {name: tf.convert_to_tensor(value).numpy() for name, value in gradient.items()}


def logits(weights, tokens):
    dtype = weights["projection"].dtype
    units, size = weights["projection"].shape
    cell, projected = tf.zeros([len(tokens), units], dtype), tf.zeros([len(tokens), size], dtype)
    outputs = []
    for step in range(tokens.shape[1]):
        begins = tf.equal(tokens[:, step, None], START_ID)
        cell, projected = (
            tf.where(begins, tf.zeros_like(cell), cell),
            tf.where(begins, tf.zeros_like(projected), projected),
        )
        embedded = tf.gather(weights["embedding"], tokens[:, step])
        gates = embedded @ weights["input_kernel"] + projected @ weights["recurrent_kernel"] + weights["gate_bias"]
        i, o, g = tf.sigmoid(gates[:, :units]), tf.sigmoid(gates[:, units : 2 * units]), tf.tanh(gates[:, 2 * units :])
        cell = (1 - i) * cell + i * g
        projected = (o * tf.tanh(cell)) @ weights["projection"]
        outputs.append(projected @ tf.transpose(weights["embedding"]) + weights["output_bias"])
    return tf.stack(outputs, axis=1)


def _loss(weights, tokens, targets, target_weights):
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits(weights, tokens))
    share = tf.cast(target_weights, losses.dtype)
    return tf.reduce_sum(losses * share) / tf.reduce_sum(share)
