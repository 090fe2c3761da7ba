"""The network as TFLite files of built-in operations only.

Two files leave this module. The training graph has no weights in it: they go in and come out by name, so that a step is
a pure function, the file is small, and a checkpoint is a separate thing. The prediction model has the weights inside,
as int8.
"""

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from model.backward import Batch, sgd_step
from model.forward import State, Tensor, forward_logits, gated, zero_state
from model.network import NetworkShape
from protocol.arrays import FloatArray

TOP_K = 3


def export_training_graph(shape: NetworkShape, *, batch_size: int = 16, sequence_length: int = 12) -> bytes:
    """Exports the signatures `train` and `evaluate`, with fixed shapes.

    train: tokens, targets int32 [batch_size, sequence_length], target_weights float32 of the same shape,
      learning_rate float32 [], and every weight by its name -> every weight by its name after one SGD step, and
      loss float32 [], the mean over the targets that count, before the step.
    evaluate: as train, without learning_rate -> loss_sum, top1_hits, top3_hits, num_targets, each float32 [].

    Shapes are fixed because ai-edge-litert crashes on aarch64 when an input of a training graph is resized.
    """
    module = tf.Module()
    batch = _batch_specs(batch_size, sequence_length)
    weights = {spec.name: _spec(spec.shape, tf.float32, spec.name) for spec in shape.tensors}
    module.train = tf.function(_train, autograph=False)
    module.evaluate = tf.function(_evaluate, autograph=False)
    rate = _spec([], tf.float32, "learning_rate")
    signatures = {
        "train": module.train.get_concrete_function(**batch, learning_rate=rate, **weights),
        "evaluate": module.evaluate.get_concrete_function(**batch, **weights),
    }
    return _convert(module, signatures, quantize=False)


def export_prediction_model(weights: Mapping[str, FloatArray]) -> bytes:
    """Exports the signature `predict` with int8 weights inside (activations stay float32).

    predict: token int32 [1], state_cell float32 [1, units], state_projection float32 [1, embedding] -> logits float32
      [1, vocabulary] of the token after it, and the two states for the next call. Both states begin as zeros.
    """
    return _export_prediction(weights, quantize=True)


def _export_prediction(weights: Mapping[str, FloatArray], *, quantize: bool) -> bytes:
    module = tf.Module()
    constants = {name: tf.constant(value) for name, value in weights.items()}
    units, embedding = weights["projection"].shape

    def predict(token: Tensor, state_cell: Tensor, state_projection: Tensor) -> dict[str, Tensor]:
        return _predict(constants, token, State(state_cell, state_projection))

    module.predict = tf.function(predict, autograph=False)
    concrete = module.predict.get_concrete_function(
        token=_spec([1], tf.int32, "token"),
        state_cell=_spec([1, units], tf.float32, "state_cell"),
        state_projection=_spec([1, embedding], tf.float32, "state_projection"),
    )
    return _convert(module, {"predict": concrete}, quantize=quantize)


def _predict(weights: Mapping[str, Tensor], token: Tensor, before: State) -> dict[str, Tensor]:
    """One time step with constant weights: their products become FULLY_CONNECTED, whose int8 kernel is the point."""
    embedded = tf.gather(weights["embedding"], token)  # [1, embedding]
    kernel = tf.concat([weights["input_kernel"], weights["recurrent_kernel"]], axis=0)
    gates = tf.matmul(tf.concat([embedded, before.projected], axis=1), kernel) + weights["gate_bias"]
    now = gated(gates, before.cell)
    projected = tf.matmul(now.hidden, weights["projection"])
    logits = tf.matmul(projected, weights["embedding"], transpose_b=True) + weights["output_bias"]
    return {"logits": logits, "state_cell": now.cell, "state_projection": projected}


def _train(
    tokens: Tensor, targets: Tensor, target_weights: Tensor, learning_rate: Tensor, **weights: Tensor
) -> dict[str, Tensor]:
    loss, stepped = sgd_step(weights, Batch(tokens, targets, target_weights), learning_rate)
    return {"loss": loss, **stepped}


def _evaluate(tokens: Tensor, targets: Tensor, target_weights: Tensor, **weights: Tensor) -> dict[str, Tensor]:
    """A target's rank is the number of words with a larger logit: no sort, no top-k."""
    logits, _ = forward_logits(weights, tokens, zero_state(tokens.shape[0], weights))
    target_logit = tf.gather(logits, tf.expand_dims(targets, 2), batch_dims=2)  # [batch, length, 1]
    rank = tf.reduce_sum(tf.cast(logits > target_logit, tf.float32), axis=2)  # [batch, length]
    largest = tf.reduce_max(logits, axis=2, keepdims=True)
    log_total = tf.math.log(tf.reduce_sum(tf.exp(logits - largest), axis=2)) + tf.squeeze(largest, 2)
    losses = log_total - tf.squeeze(target_logit, 2)
    return {
        "loss_sum": tf.reduce_sum(target_weights * losses),
        "top1_hits": tf.reduce_sum(target_weights * tf.cast(rank < 1, tf.float32)),
        "top3_hits": tf.reduce_sum(target_weights * tf.cast(rank < TOP_K, tf.float32)),
        "num_targets": tf.reduce_sum(target_weights),
    }


def _batch_specs(batch_size: int, sequence_length: int) -> dict[str, Any]:
    form = [batch_size, sequence_length]
    return {
        "tokens": _spec(form, tf.int32, "tokens"),
        "targets": _spec(form, tf.int32, "targets"),
        "target_weights": _spec(form, tf.float32, "target_weights"),
    }


def _spec(shape: Any, dtype: Any, name: str) -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def _convert(module: Any, signatures: Mapping[str, Callable[..., Any]], *, quantize: bool) -> bytes:
    with tempfile.TemporaryDirectory(prefix="keychorus-export-") as folder:
        tf.saved_model.save(module, folder, signatures=dict(signatures))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converted: bytes = converter.convert()
        return converted
