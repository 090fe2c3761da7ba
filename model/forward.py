"""The network's forward pass, in plain TensorFlow operations that TFLite has too.

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

import tensorflow as tf

Tensor = Any  # tf.Tensor; TensorFlow 2.14 ships no types
TensorMap = Mapping[str, Tensor]


class State(NamedTuple):
    """What one time step hands to the next."""

    cell: Tensor  # [batch, units]
    projected: Tensor  # [batch, embedding]


class Step(NamedTuple):
    """What the backward pass needs of one time step."""

    input_gate: Tensor  # [batch, units]
    output_gate: Tensor  # [batch, units]
    candidate: Tensor  # [batch, units]
    cell_before: Tensor  # [batch, units]
    cell_tanh: Tensor  # [batch, units]
    hidden: Tensor  # [batch, units]
    projected_before: Tensor  # [batch, embedding]
    projected: Tensor  # [batch, embedding]


def product(left: Tensor, right: Tensor) -> Tensor:
    """[rows, inner] times [inner, columns].

    A product of rank 3: TFLite's converter turns one of rank 2 into FULLY_CONNECTED, which is two to three times slower
    than BATCH_MATMUL where the right side is no constant.
    """
    return tf.squeeze(tf.matmul(tf.expand_dims(left, 0), tf.expand_dims(right, 0)), 0)


def transposed(matrix: Tensor) -> Tensor:
    """[rows, columns] to [columns, rows], as a matrix of its own.

    Written out instead of `transpose_b=True`, which would make the product a FULLY_CONNECTED again (see `product`).
    """
    return tf.transpose(matrix)


def zero_state(batch_size: int, weights: TensorMap) -> State:
    """The state before a message."""
    projection = weights["projection"]
    units, embedding = projection.shape
    return State(tf.zeros([batch_size, units], projection.dtype), tf.zeros([batch_size, embedding], projection.dtype))


class Gated(NamedTuple):
    """What the gates make of a cell, each [batch, units]."""

    input_gate: Tensor
    output_gate: Tensor
    candidate: Tensor
    cell: Tensor
    cell_tanh: Tensor
    hidden: Tensor


def gated(gates: Tensor, cell_before: Tensor) -> Gated:
    """The coupled gates: from their logits, [batch, 3 * units], and the cell before, to the cell and m_t."""
    input_logit, output_logit, candidate_logit = tf.split(gates, 3, axis=1)
    input_gate, output_gate = tf.sigmoid(input_logit), tf.sigmoid(output_logit)
    candidate = tf.tanh(candidate_logit)
    cell = cell_before + input_gate * (candidate - cell_before)  # (1 - i) c + i g
    cell_tanh = tf.tanh(cell)
    return Gated(input_gate, output_gate, candidate, cell, cell_tanh, output_gate * cell_tanh)


def one_step(weights: TensorMap, input_part: Tensor, before: State) -> tuple[Step, State]:
    """One time step.

    Args:
      weights: by name, see `model.network`.
      input_part: [batch, 3 * units], the input's share of the gates, bias included.
      before: the state of the time step before.

    Returns:
      What the backward pass needs, and the state after.

    """
    now = gated(input_part + product(before.projected, weights["recurrent_kernel"]), before.cell)
    projected = product(now.hidden, weights["projection"])
    step = Step(
        now.input_gate,
        now.output_gate,
        now.candidate,
        before.cell,
        now.cell_tanh,
        now.hidden,
        before.projected,
        projected,
    )
    return step, State(now.cell, projected)


def unroll(weights: TensorMap, embedded: Tensor, state: State, *, length: int) -> tuple[list[Step], State]:
    """All time steps.

    Args:
      weights: by name, see `model.network`.
      embedded: [length * batch, embedding], time-major.
      state: before the first step.
      length: number of time steps.

    Returns:
      What the backward pass needs of each step, and the state after the last.

    """
    inputs = product(embedded, weights["input_kernel"]) + weights["gate_bias"]  # [length * batch, 3 * units]
    steps = []
    for input_part in tf.split(inputs, length, axis=0):
        step, state = one_step(weights, input_part, state)
        steps.append(step)
    return steps, state


def output_logits(weights: TensorMap, projected: Tensor) -> Tensor:
    """[rows, embedding] to [1, rows, vocabulary], by the tied embedding; rank 3 because TFLite copies at a reshape."""
    by_word = tf.expand_dims(transposed(weights["embedding"]), 0)  # [1, embedding, vocabulary]
    return tf.matmul(tf.expand_dims(projected, 0), by_word) + weights["output_bias"]


def time_major(batch: Tensor) -> Tensor:
    """[batch, length] to [length * batch]: the rows of one time step lie side by side."""
    return tf.reshape(tf.transpose(batch), [-1])


def stacked(steps: Sequence[Step], name: str) -> Tensor:
    """One activation of all steps, [length * batch, size]."""
    return tf.concat([getattr(step, name) for step in steps], axis=0)


def forward_logits(weights: TensorMap, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """The whole network over a batch.

    Args:
      weights: by name.
      tokens: int32 [batch, length].
      state: before the first token; `zero_state` at the start of a message.

    Returns:
      Logits of the token after each, [batch, length, vocabulary], and the state after the last.

    """
    batch_size, length = tokens.shape
    embedded = tf.gather(weights["embedding"], time_major(tokens))
    steps, state = unroll(weights, embedded, state, length=length)
    logits = output_logits(weights, stacked(steps, "projected"))
    return tf.transpose(tf.reshape(logits, [length, batch_size, -1]), [1, 0, 2]), state
