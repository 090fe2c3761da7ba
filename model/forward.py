"""The network's forward pass, in plain TensorFlow operations that TFLite has too.

Activations have rank 3, [1, rows, size]: TFLite's converter turns a product of rank 2 into FULLY_CONNECTED, two to
three times slower than BATCH_MATMUL where the right side is no constant, and copies whatever is reshaped.

A batch's row may hold several messages, one after the other: the start of a message forgets what was before it.

Written once: pre-training differentiates it with the hand-written backward pass, the export converts it, evaluation
runs it. Works in float32 and, for finite differences, in float64.

| name in code      | paper's symbol (arXiv 1402.1128, section 2) |
|-------------------|---------------------------------------------|
| input_gate        | i_t; the forget gate f_t is 1 - i_t          |
| output_gate       | o_t                                         |
| candidate         | g(W_cx x_t + ...)                           |
| cell              | c_t                                         |
| hidden            | m_t = o_t * tanh(c_t)                       |
| projected         | r_t = W_rm m_t                              |
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tokenizer.vocabulary import START_ID

Tensor = Any  # tf.Tensor; TensorFlow 2.14 ships no types
TensorMap = Mapping[str, Tensor]


class State(NamedTuple):
    """What one time step hands to the next."""

    cell: Tensor  # [1, batch, units]
    projected: Tensor  # [1, batch, embedding]


class Step(NamedTuple):
    """What the backward pass needs of one time step."""

    input_gate: Tensor  # [1, batch, units]
    output_gate: Tensor  # [1, batch, units]
    candidate: Tensor  # [1, batch, units]
    cell_change: Tensor  # [1, batch, units]: i (g - c_{t-1})
    cell_tanh: Tensor  # [1, batch, units]
    hidden: Tensor  # [1, batch, units]
    carried: Tensor  # [1, batch, 1]: 0 where a message starts, else 1
    projected_before: Tensor  # [1, batch, embedding], what was carried of it
    projected: Tensor  # [1, batch, embedding]


class Unrolled(NamedTuple):
    """All time steps, and the state after the last."""

    steps: list[Step]
    state: State


def kernel(weights: TensorMap, name: str) -> Tensor:
    """A weight as the right side of a product: [rows, columns] to [1, rows, columns]."""
    return tf.expand_dims(weights[name], 0)


def transposed(matrix: Tensor) -> Tensor:
    """[1, rows, columns] to [1, columns, rows]; for a product's side, see `turned`."""
    return tf.transpose(matrix, (0, 2, 1))


def turned(matrix: Tensor) -> Tensor:
    """[1, rows, columns] to [1, columns, rows], as the side of a product.

    The reshape hides the transpose from TFLite's converter, which would make it a flag of the product; tflite-runtime's
    kernel for that flag is three to four times slower.
    """
    _, rows, columns = matrix.shape
    return tf.reshape(tf.transpose(matrix, (2, 0, 1)), [1, columns, rows])


def zero_state(batch_size: int, weights: TensorMap) -> State:
    """The state before a message."""
    projection = weights["projection"]
    units, embedding = projection.shape
    return State(
        tf.zeros([1, batch_size, units], projection.dtype), tf.zeros([1, batch_size, embedding], projection.dtype)
    )


class Gated(NamedTuple):
    """What the gates make of a cell, each [..., batch, units]."""

    input_gate: Tensor
    output_gate: Tensor
    candidate: Tensor
    cell_change: Tensor
    cell: Tensor
    cell_tanh: Tensor
    hidden: Tensor


def gated(gates: Tensor, cell_before: Tensor) -> Gated:
    """The coupled gates: from their logits, [..., batch, 3 * units], and the cell before, to the cell and m_t."""
    input_logit, output_logit, candidate_logit = tf.split(gates, 3, axis=-1)
    input_gate, output_gate = tf.sigmoid(input_logit), tf.sigmoid(output_logit)
    candidate = tf.tanh(candidate_logit)
    cell_change = input_gate * (candidate - cell_before)
    cell = cell_before + cell_change  # (1 - i) c + i g
    cell_tanh = tf.tanh(cell)
    return Gated(input_gate, output_gate, candidate, cell_change, cell, cell_tanh, output_gate * cell_tanh)


def one_step(weights: TensorMap, input_part: Tensor, carried: Tensor, before: State) -> tuple[Step, State]:
    """One time step.

    Args:
      weights: by name, see `model.network`.
      input_part: [1, batch, 3 * units], the input's share of the gates, bias included.
      carried: [1, batch, 1], 0 where a message starts, else 1.
      before: the state of the time step before.

    Returns:
      What the backward pass needs, and the state after.

    """
    before = State(before.cell * carried, before.projected * carried)
    now = gated(input_part + tf.matmul(before.projected, kernel(weights, "recurrent_kernel")), before.cell)
    projected = tf.matmul(now.hidden, kernel(weights, "projection"))
    step = Step(
        now.input_gate,
        now.output_gate,
        now.candidate,
        now.cell_change,
        now.cell_tanh,
        now.hidden,
        carried,
        before.projected,
        projected,
    )
    return step, State(now.cell, projected)


def unroll(weights: TensorMap, tokens: Tensor, embedded: Tensor, state: State, *, length: int) -> Unrolled:
    """All time steps.

    Args:
      weights: by name, see `model.network`.
      tokens: int32 [1, length * batch], time-major.
      embedded: [1, length * batch, embedding], of these tokens.
      state: before the first step.
      length: number of time steps.

    Returns:
      What the backward pass needs of each step, and the state after the last.

    """
    inputs = tf.matmul(embedded, kernel(weights, "input_kernel")) + weights["gate_bias"]  # [1, rows, 3 * units]
    carried = tf.cast(tf.not_equal(tf.expand_dims(tokens, 2), START_ID), inputs.dtype)  # [1, rows, 1]
    steps = []
    for input_part, kept in zip(tf.split(inputs, length, axis=1), tf.split(carried, length, axis=1), strict=True):
        step, state = one_step(weights, input_part, kept, state)
        steps.append(step)
    return Unrolled(steps, state)


def output_logits(weights: TensorMap, projected: Tensor) -> Tensor:
    """[1, rows, embedding] to [1, rows, vocabulary], by the tied embedding.

    The bias is one more column of the embedding, read by a constant 1: a whole pass over the logits less.
    """
    by_word = transposed(kernel(weights, "embedding"))  # [1, embedding, vocabulary]
    with_bias = tf.concat([by_word, tf.reshape(weights["output_bias"], [1, 1, -1])], axis=1)
    return tf.matmul(tf.concat([projected, tf.ones_like(projected[:, :, :1])], axis=2), with_bias)


def time_major(batch: Tensor) -> Tensor:
    """[batch, length] to [1, length * batch]: the rows of one time step lie side by side.

    A gather, not a transpose: one of integers keeps tflite-runtime's XNNPACK delegate from the whole graph.
    """
    batch_size, length = batch.shape
    order = np.arange(batch_size * length, dtype=np.int32).reshape(batch_size, length).T.reshape(1, -1)
    return tf.gather(tf.reshape(batch, [-1]), order)


def stacked(steps: Sequence[Step], name: str) -> Tensor:
    """One activation of all steps, [1, length * batch, size]."""
    return tf.concat([getattr(step, name) for step in steps], axis=1)


def forward_logits(weights: TensorMap, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """The whole network over a batch.

    Args:
      weights: by name.
      tokens: int32 [batch, length].
      state: before the first token; of no account where a message starts.

    Returns:
      Logits of the token after each, [batch, length, vocabulary], and the state after the last.

    """
    batch_size, length = tokens.shape
    ordered = time_major(tokens)
    steps, state = unroll(weights, ordered, tf.gather(weights["embedding"], ordered), state, length=length)
    logits = output_logits(weights, stacked(steps, "projected"))
    return tf.transpose(tf.reshape(logits, [length, batch_size, -1]), [1, 0, 2]), state
