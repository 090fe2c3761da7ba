"""The gradient, by hand: one large matrix product a weight, where automatic differentiation makes one a time step.

TFLite has no automatic differentiation, and what TensorFlow makes for it needs operations that tflite-runtime
lacks (`StridedSliceGrad`). `tests/model/test_backward.py` holds this file against both `GradientTape` and finite
differences.
"""

from typing import NamedTuple

import tensorflow as tf

from model.forward import (
    State,
    Step,
    Tensor,
    TensorMap,
    output_logits,
    product,
    stacked,
    time_major,
    transposed,
    unroll,
    zero_state,
)

_LEAST_PROBABILITY = 1e-37
"""Just above float32's smallest normal number: a loss is at most 85 nats."""


class Batch(NamedTuple):
    """A batch of examples, see `tokenizer.examples.Examples`: each [batch, length]."""

    tokens: Tensor
    targets: Tensor
    target_weights: Tensor


class Gradient(NamedTuple):
    """The mean loss over the targets that count, and its gradient by weight name."""

    loss: Tensor
    by_name: dict[str, Tensor]


class _OutputGradient(NamedTuple):
    loss: Tensor
    projected: Tensor  # [rows, embedding]
    embedding: Tensor  # [vocabulary, embedding], without the targets' own part
    target_rows: Tensor  # [rows, embedding]: that part, one row a target
    output_bias: Tensor  # [vocabulary]


class _StepGradient(NamedTuple):
    gates: Tensor  # [batch, 3 * units]
    projected: Tensor  # [batch, embedding]: of this step's output, all sources added


def gradient(weights: TensorMap, batch: Batch) -> Gradient:
    """Loss and gradient of one batch whose every row begins at the zero state.

    Source: backpropagation through time of the equations in `model.forward`.
    """
    batch_size, length = batch.tokens.shape
    tokens, targets = time_major(batch.tokens), time_major(batch.targets)
    embedded = tf.gather(weights["embedding"], tokens)
    steps, _ = unroll(weights, embedded, zero_state(batch_size, weights), length=length)

    output = _output_gradient(weights, stacked(steps, "projected"), targets, time_major(batch.target_weights))
    step_gradients = _through_time(weights, steps, tf.split(output.projected, length, axis=0))
    gates = tf.concat([step.gates for step in step_gradients], axis=0)  # [rows, 3 * units]
    projected = tf.concat([step.projected for step in step_gradients], axis=0)  # [rows, embedding]
    embedded_gradient = product(gates, transposed(weights["input_kernel"]))
    # The embedding's rows that were read and those that were targets, scattered together: one pass over it, not two.
    touched = tf.concat([embedded_gradient, output.target_rows], axis=0)  # [2 * rows, embedding]
    touched_ids = tf.concat([tokens, targets], axis=0)
    by_name = {
        "embedding": output.embedding + _rows_added(touched, touched_ids, weights["embedding"]),
        "input_kernel": product(transposed(embedded), gates),
        "recurrent_kernel": product(transposed(stacked(steps, "projected_before")), gates),
        "gate_bias": tf.reduce_sum(gates, axis=0),
        "projection": product(transposed(stacked(steps, "hidden")), projected),
        "output_bias": output.output_bias,
    }
    return Gradient(output.loss, by_name)


def sgd_step(weights: TensorMap, batch: Batch, learning_rate: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of plain gradient descent as a pure function: the loss before it, and the new weights by name."""
    result = gradient(weights, batch)
    return result.loss, {name: value - learning_rate * result.by_name[name] for name, value in weights.items()}


def _output_gradient(weights: TensorMap, projected: Tensor, targets: Tensor, target_weights: Tensor) -> _OutputGradient:
    """Softmax cross-entropy over the tied embedding.

    The gradient of the logits is w (softmax - one-hot), [rows, vocabulary], by far the largest thing here, so it is
    never written out: its weights w go into the small factor of each product, and its one-hot part, which touches one
    row a target, is gathered and scattered. For the same reason the probabilities keep the products' rank of 3, since
    TFLite copies what it reshapes, and the embedding's gradient is transposed after its product, not before.
    """
    rows = projected.shape[0]
    share = tf.expand_dims(target_weights / tf.maximum(tf.reduce_sum(target_weights), 1.0), 1)  # [rows, 1]
    embedding = tf.expand_dims(weights["embedding"], 0)  # [1, vocabulary, embedding]
    probabilities = tf.nn.softmax(output_logits(weights, projected))  # [1, rows, vocabulary]
    target_probability = tf.gather(probabilities, tf.reshape(targets, [1, rows, 1]), batch_dims=2)  # [1, rows, 1]
    # Not the logarithm of 0: a padded row's weight of 0 times infinity would be NaN.
    loss = -tf.reduce_sum(share * tf.math.log(tf.maximum(tf.squeeze(target_probability, 0), _LEAST_PROBABILITY)))
    expected_rows = tf.squeeze(tf.matmul(probabilities, embedding), 0)  # [rows, embedding]
    weighted = share * projected  # [rows, embedding]
    by_column = tf.matmul(tf.expand_dims(transposed(weighted), 0), probabilities)  # [1, embedding, vocabulary]
    expected_share = tf.matmul(tf.reshape(share, [1, 1, rows]), probabilities)  # [1, 1, vocabulary]
    return _OutputGradient(
        loss=loss,
        projected=share * (expected_rows - tf.gather(weights["embedding"], targets)),
        embedding=transposed(tf.squeeze(by_column, 0)),
        target_rows=-weighted,
        output_bias=tf.reshape(expected_share, [-1])
        - tf.reshape(_rows_added(share, targets, weights["embedding"]), [-1]),
    )


def _rows_added(rows: Tensor, ids: Tensor, embedding: Tensor) -> Tensor:
    """[rows, size] added up by id into [vocabulary, size]."""
    return tf.math.unsorted_segment_sum(rows, ids, embedding.shape[0])


def _through_time(weights: TensorMap, steps: list[Step], projected: list[Tensor]) -> list[_StepGradient]:
    """Walks the steps backwards.

    Args:
      weights: by name.
      steps: what the forward pass left.
      projected: gradient of each step's output through the logits, [batch, embedding].

    """
    projection_t = transposed(weights["projection"])
    recurrent_kernel_t = transposed(weights["recurrent_kernel"])
    later = State(tf.zeros_like(steps[0].hidden), tf.zeros_like(steps[0].projected))
    gradients = []
    for step, through_logits in zip(reversed(steps), reversed(projected), strict=True):
        projected_all = through_logits + later.projected
        gates, cell_before = _one_step_back(step, product(projected_all, projection_t), later.cell)
        later = State(cell_before, product(gates, recurrent_kernel_t))
        gradients.append(_StepGradient(gates, projected_all))
    return gradients[::-1]


def _one_step_back(step: Step, hidden: Tensor, cell_later: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradients of m_t and c_t to those of the gates' logits, [batch, 3 * units], and of c_{t-1}."""
    cell = cell_later + hidden * step.output_gate * (1.0 - step.cell_tanh * step.cell_tanh)
    input_logit = cell * (step.candidate - step.cell_before) * step.input_gate * (1.0 - step.input_gate)
    output_logit = hidden * step.cell_tanh * step.output_gate * (1.0 - step.output_gate)
    candidate_logit = cell * step.input_gate * (1.0 - step.candidate * step.candidate)
    return tf.concat([input_logit, output_logit, candidate_logit], axis=1), cell * (1.0 - step.input_gate)
