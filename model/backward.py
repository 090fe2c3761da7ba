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
    kernel,
    output_logits,
    stacked,
    time_major,
    transposed,
    turned,
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
    projected: Tensor  # [1, rows, embedding]
    embedding: Tensor  # [1, vocabulary, embedding], without the targets' own part
    target_rows: Tensor  # [1, rows, embedding]: that part, one row a target
    output_bias: Tensor  # [1, vocabulary, 1]


class _StepGradient(NamedTuple):
    gates: Tensor  # [1, batch, 3 * units]
    projected: Tensor  # [1, batch, embedding]: of this step's output, all sources added


def gradient(weights: TensorMap, batch: Batch, scale: Tensor | float = 1.0) -> Gradient:
    """Loss and gradient of one batch whose every row begins at the zero state.

    Args:
      weights: by name.
      batch: of examples.
      scale: of the gradient, not of the loss: scaling where the gradient begins costs nothing, scaling what comes out
        is one more pass over all weights.

    Source: backpropagation through time of the equations in `model.forward`.

    """
    batch_size, length = batch.tokens.shape
    tokens, targets = time_major(batch.tokens), time_major(batch.targets)  # [1, rows]
    embedded = tf.gather(weights["embedding"], tokens)  # [1, rows, embedding]
    steps, _ = unroll(weights, tokens, embedded, zero_state(batch_size, weights), length=length)

    share = _share(time_major(batch.target_weights))
    output = _output_gradient(weights, stacked(steps, "projected"), targets, share, scale)
    step_gradients = _through_time(weights, steps, tf.split(output.projected, length, axis=1))
    gates = tf.concat([step.gates for step in step_gradients], axis=1)  # [1, rows, 3 * units]
    projected = tf.concat([step.projected for step in step_gradients], axis=1)  # [1, rows, embedding]
    embedded_gradient = tf.matmul(gates, turned(kernel(weights, "input_kernel")))
    # The embedding's rows that were read and those that were targets, scattered together: one pass over it, not two.
    touched = tf.concat([embedded_gradient, output.target_rows], axis=1)  # [1, 2 * rows, embedding]
    touched_ids = tf.concat([tokens, targets], axis=1)
    by_name = {
        "embedding": output.embedding + _rows_added(touched, touched_ids, weights["embedding"]),
        "input_kernel": tf.matmul(turned(embedded), gates),
        "recurrent_kernel": tf.matmul(turned(stacked(steps, "projected_before")), gates),
        "gate_bias": tf.reduce_sum(gates, axis=1),
        "projection": tf.matmul(turned(stacked(steps, "hidden")), projected),
        "output_bias": output.output_bias,
    }
    return Gradient(output.loss, {name: tf.reshape(value, weights[name].shape) for name, value in by_name.items()})


def sgd_step(weights: TensorMap, batch: Batch, learning_rate: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of plain gradient descent as a pure function: the loss before it, and the new weights by name."""
    result = gradient(weights, batch, learning_rate)
    return result.loss, {name: value - result.by_name[name] for name, value in weights.items()}


def _share(target_weights: Tensor) -> Tensor:
    """[1, rows] to [1, rows, 1]: each target's part of the mean."""
    return tf.expand_dims(target_weights / tf.maximum(tf.reduce_sum(target_weights), 1.0), 2)


def _output_gradient(
    weights: TensorMap, projected: Tensor, targets: Tensor, share: Tensor, scale: Tensor | float
) -> _OutputGradient:
    """Softmax cross-entropy over the tied embedding.

    The gradient of the logits is w (softmax - one-hot), [rows, vocabulary], by far the largest thing here, so it is
    never written out: its weights w go into the small factor of each product, and its one-hot part, which touches one
    row a target, is gathered and scattered. The embedding's gradient is transposed after its product, not before.
    """
    probabilities = tf.nn.softmax(output_logits(weights, projected))  # [1, rows, vocabulary]
    target_probability = tf.gather(probabilities, tf.expand_dims(targets, 2), batch_dims=2)  # [1, rows, 1]
    # Not the logarithm of 0: a padded row's weight of 0 times infinity would be NaN.
    loss = -tf.reduce_sum(share * tf.math.log(tf.maximum(target_probability, _LEAST_PROBABILITY)))
    scaled = share * scale
    expected_rows = tf.matmul(probabilities, kernel(weights, "embedding"))  # [1, rows, embedding]
    weighted = scaled * projected  # [1, rows, embedding]
    by_column = tf.matmul(turned(weighted), probabilities)  # [1, embedding, vocabulary]
    expected_share = tf.matmul(turned(scaled), probabilities)  # [1, 1, vocabulary]
    return _OutputGradient(
        loss=loss,
        projected=scaled * (expected_rows - tf.gather(weights["embedding"], targets)),
        embedding=transposed(by_column),
        target_rows=-weighted,
        output_bias=tf.reshape(expected_share, [1, -1, 1]) - _rows_added(scaled, targets, weights["output_bias"]),
    )


def _rows_added(rows: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
    """[1, rows, size] added up by id, [1, rows], into [1, vocabulary, size]."""
    at = tf.stack([tf.zeros_like(ids), ids], axis=2)  # [1, rows, 2]
    return tf.scatter_nd(at, rows, [1, weight.shape[0], rows.shape[2]])


def _through_time(weights: TensorMap, steps: list[Step], projected: list[Tensor]) -> list[_StepGradient]:
    """Walks the steps backwards.

    Args:
      weights: by name.
      steps: what the forward pass left.
      projected: gradient of each step's output through the logits, [1, batch, embedding].

    """
    projection_t = turned(kernel(weights, "projection"))
    recurrent_kernel_t = turned(kernel(weights, "recurrent_kernel"))
    later = State(tf.zeros_like(steps[0].hidden), tf.zeros_like(steps[0].projected))
    gradients = []
    for step, through_logits in zip(reversed(steps), reversed(projected), strict=True):
        projected_all = through_logits + later.projected
        gates, cell_before = _one_step_back(step, tf.matmul(projected_all, projection_t), later.cell)
        later = State(cell_before * step.carried, tf.matmul(gates, recurrent_kernel_t) * step.carried)
        gradients.append(_StepGradient(gates, projected_all))
    return gradients[::-1]


def _one_step_back(step: Step, hidden: Tensor, cell_later: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradients of m_t and c_t to those of the gates' logits, [1, batch, 3 * units], and of c_{t-1}.

    The derivatives are written in what the forward pass has computed already: o (1 - tanh^2 c) is o - m tanh c.
    """
    cell = cell_later + hidden * (step.output_gate - step.hidden * step.cell_tanh)
    candidate = cell * step.input_gate
    cell_before = cell - candidate
    input_logit = step.cell_change * cell_before
    output_logit = hidden * (step.hidden - step.hidden * step.output_gate)
    candidate_logit = candidate - candidate * step.candidate * step.candidate
    return tf.concat([input_logit, output_logit, candidate_logit], axis=2), cell_before
