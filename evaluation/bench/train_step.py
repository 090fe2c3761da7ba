"""One training step: ours, in TFLite as a device runs it, against TensorFlow's own `GradientTape`.

Both sides take the same weights and the same batch, use one thread each, and keep the weights that a step gives for the
next. Ours includes copying all weights into the model and out of it. TensorFlow works in a process of its own, since
its number of threads can be set only before its first operation; the two take turns and never work at once.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
from rich.console import Console

from device_runtime.runtime import Array, Model, runtime_name
from evaluation.bench.runner import Result, compare, milliseconds, progress
from model.network import FULL, SMALL, NetworkShape, initial_weights
from protocol.weights import Weights
from tokenizer.examples import Examples
from tokenizer.vocabulary import NUM_SPECIAL

NAME = "train-step"
SIZES = {"small": SMALL, "full": FULL}
_MAX_LOSS_DIFFERENCE = 1e-3
_START_WITHIN_S = 120.0


class DifferentWork(Exception):
    """The two sides do not compute the same loss, so comparing their times would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides do.

    Attributes:
      shape: of the network.
      batch_size: sequences a batch.
      sequence_length: words a sequence.
      learning_rate: of plain SGD.
      steps_per_turn: steps whose mean is one measurement.
      seed: of weights and words.

    """

    shape: NetworkShape
    batch_size: int = 16
    sequence_length: int = 12
    learning_rate: float = 0.1
    steps_per_turn: int = 5
    seed: int = 0

    def weights(self) -> Weights:
        """The weights that both sides begin with."""
        return initial_weights(self.shape, self.seed)

    def batch(self) -> Examples:
        """Words drawn evenly, every one a target."""
        generator = np.random.default_rng(self.seed)
        form = (self.batch_size, self.sequence_length + 1)
        words = generator.integers(NUM_SPECIAL, self.shape.vocabulary_size, form, dtype=np.int32)
        tokens, targets = np.ascontiguousarray(words[:, :-1]), np.ascontiguousarray(words[:, 1:])
        return Examples(tokens, targets, np.ones(tokens.shape, dtype=np.float32))


class OnDevice:
    """Our side: the training graph on a TFLite runtime."""

    def __init__(self, graph: bytes, setting: Setting, runtime: str | None):
        self._signature = Model(graph, num_threads=1, runtime=runtime).signature("train")
        self._signature.set({"learning_rate": np.array(setting.learning_rate, dtype=np.float32)})
        self._batch: dict[str, Array] = setting.batch()._asdict()
        self._weights: dict[str, Array] = dict(setting.weights())
        self._steps = setting.steps_per_turn

    def step(self) -> float:
        """Takes one step and returns the loss before it."""
        self._signature.set(self._weights | self._batch)
        return float(self._signature.run(into=self._weights)["loss"])

    def run(self) -> float:
        """Milliseconds of a step."""
        return milliseconds(self.step, times=self._steps)


class InTensorFlow:
    """The reference: a compiled `tf.function` with a tape, in a process of its own. Made by `in_tensorflow`."""

    def __init__(self, connection: Connection):
        self._connection = connection
        if not connection.poll(_START_WITHIN_S):
            raise TimeoutError(f"TensorFlow must start within {_START_WITHIN_S:.0f} s")
        self.graph: bytes = connection.recv_bytes()
        """The training graph, which only a process with TensorFlow can export."""

    def step(self) -> float:
        """Takes one step and returns the loss before it."""
        return self._ask("step")

    def run(self) -> float:
        """Milliseconds of a step."""
        return self._ask("run")

    def _ask(self, what: str) -> float:
        self._connection.send(what)
        return float(self._connection.recv())


@contextlib.contextmanager
def in_tensorflow(setting: Setting) -> Iterator[InTensorFlow]:
    """Starts TensorFlow in a process and ends it.

    Raises:
      TimeoutError: it did not start.
      EOFError: it failed; its own message is on standard error.

    """
    context = get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=_serve, args=(there, setting), daemon=True)
    worker.start()
    there.close()
    try:
        yield InTensorFlow(here)
    finally:
        here.close()  # ends the worker's loop
        worker.join(timeout=10)
        if worker.is_alive():
            worker.kill()
            worker.join()


def _serve(connection: Connection, setting: Setting) -> None:
    """The worker: sends the training graph, then answers until the connection ends."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it complains about graphics cards that are not there
    import tensorflow as tf

    from model.export import export_training_graph

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    connection.send_bytes(
        export_training_graph(setting.shape, batch_size=setting.batch_size, sequence_length=setting.sequence_length)
    )
    step = _tape_step(setting)
    with contextlib.suppress(EOFError):
        while True:
            measure = connection.recv() == "run"
            connection.send(milliseconds(step, times=setting.steps_per_turn) if measure else step())


def _tape_step(setting: Setting) -> Callable[[], float]:
    """One SGD step as TensorFlow's users write it: variables, a tape, a graph.

    Of the networks tried, `model.forward` is the quickest in TensorFlow too, see docs/performance.md.
    """
    import tensorflow as tf

    from model.forward import forward_logits, zero_state

    variables = {name: tf.Variable(value) for name, value in setting.weights().items()}
    batch = setting.batch()

    @tf.function(autograph=False)
    def step() -> object:
        with tf.GradientTape() as tape:
            state = zero_state(setting.batch_size, variables)
            logits, _ = forward_logits(variables, tf.constant(batch.tokens), state)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.constant(batch.targets), logits)
            loss = tf.reduce_mean(losses)  # every target counts
        gradients = tape.gradient(loss, variables)
        for name, variable in variables.items():
            variable.assign_sub(setting.learning_rate * tf.convert_to_tensor(gradients[name]))
        return loss

    return lambda: float(step())


def run(setting: Setting, *, repeats: int, runtime: str | None, console: Console) -> Result:
    """Compares the two.

    Args:
      setting: what both do.
      repeats: turns that count.
      runtime: TFLite runtime, or None for the one installed.
      console: shows the progress.

    Raises:
      DifferentWork: the losses of the first step differ by more than 1e-3.

    """
    with console.status("starting TensorFlow"), contextlib.ExitStack() as stack:
        reference = stack.enter_context(in_tensorflow(setting))
        ours = OnDevice(reference.graph, setting, runtime)
        losses = ours.step(), reference.step()
        if not abs(losses[0] - losses[1]) <= _MAX_LOSS_DIFFERENCE:
            raise DifferentWork(f"losses must agree to {_MAX_LOSS_DIFFERENCE}, got {losses[0]} and {losses[1]}")
        keep_open = stack.pop_all()
    details: dict[str, str | int | float] = {
        "runtime": runtime_name(runtime),
        "parameters": setting.shape.num_weights,
        "batch": f"{setting.batch_size} x {setting.sequence_length}",
        "threads": 1,
        "graph_bytes": len(reference.graph),
    }
    with keep_open, progress(NAME, repeats + 1, console) as on_turn:
        return compare(NAME, "ms", ours, reference, repeats=repeats, details=details, on_turn=on_turn)
