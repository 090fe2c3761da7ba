"""What a client of Flower's simulation does: local SGD as TensorFlow's users write it, variables, a tape, a graph.

A module of its own, so that Flower's actors find it by name: graph, variables and data are made once in each of them.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict  # type: ignore[import-not-found]
from flwr.clientapp import ClientApp  # type: ignore[import-not-found]

from model.forward import Tensor, forward_logits, zero_state

_KINDS = ("tokens", "targets", "target_weights")
Arrays = dict[str, npt.NDArray[Any]]
Fit = Callable[..., Tensor]

tf.config.threading.set_intra_op_parallelism_threads(1)  # an actor a core: each has one thread
tf.config.threading.set_inter_op_parallelism_threads(1)
app = ClientApp()


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Trains on the node's batches; gives weights whose distance from those that came is at most the clipping norm."""
    config, arrays = message.content["config"], message.content["arrays"]
    first = {name: array.numpy() for name, array in arrays.items()}
    batches = _batches(config["work"], int(context.node_config["partition-id"]))
    trained = _Trainer.of(tuple((name, value.shape) for name, value in first.items())).train(
        first, batches, config["learning_rate"]
    )
    clipped = clip(first, trained, config["l2_clip_norm"])
    metrics = MetricRecord({"num-examples": 1, "steps": len(batches)})
    content = {"arrays": ArrayRecord({name: Array(value) for name, value in clipped.items()}), "metrics": metrics}
    return Message(content=RecordDict(content), reply_to=message)


def clip(first: Mapping[str, npt.NDArray[Any]], trained: Mapping[str, npt.NDArray[Any]], norm: float) -> Arrays:
    """The trained weights, moved back towards the first ones if they are further away than `norm`."""
    moved = {name: trained[name] - value for name, value in first.items()}
    length = float(np.sqrt(sum(np.vdot(each, each) for each in moved.values())))
    if length <= norm:
        return dict(trained)
    return {name: value + moved[name] * np.float32(norm / length) for name, value in first.items()}


class _Trainer:
    """A network in this process, for whichever client comes."""

    def __init__(self, shapes: tuple[tuple[str, tuple[int, ...]], ...]):
        self._variables = {name: tf.Variable(tf.zeros(shape), name=name) for name, shape in shapes}
        self._rate = tf.Variable(0.0)
        self._step = tf.function(self._take_step, autograph=False)

    @classmethod
    @cache
    def of(cls, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> "_Trainer":
        """The one of this process."""
        return cls(shapes)

    def train(self, first: Mapping[str, npt.NDArray[Any]], batches: list[Arrays], rate: float) -> Arrays:
        """Takes a step for each batch."""
        self._rate.assign(rate)
        for name, variable in self._variables.items():
            variable.assign(first[name])
        for batch in batches:
            self._step(*(batch[kind] for kind in _KINDS))
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def _take_step(self, tokens: Tensor, targets: Tensor, target_weights: Tensor) -> None:
        with tf.GradientTape() as tape:
            logits, _ = forward_logits(self._variables, tokens, zero_state(tokens.shape[0], self._variables))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)  # [batch, length]
            loss = tf.reduce_sum(losses * target_weights) / tf.maximum(tf.reduce_sum(target_weights), 1.0)
        gradients = tape.gradient(loss, self._variables)
        for name, variable in self._variables.items():
            variable.assign_sub(self._rate * tf.convert_to_tensor(gradients[name]))


@cache
def _batches(work: str, device: int) -> list[dict[str, Tensor]]:
    with np.load(Path(work)) as arrays:
        kinds = [arrays[f"{kind}/{device}"] for kind in _KINDS]
    return [dict(zip(_KINDS, map(tf.constant, batch), strict=True)) for batch in zip(*kinds, strict=True)]
