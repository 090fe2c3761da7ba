"""Local training: one round's SGD over the log, in plain TFLite, on one thread.

Runs the FedAvg client of McMahan et al. 2017 (arXiv 1602.05629, algorithm 1, ClientUpdate).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from device_runtime.runtime import Array, Model, Signature, TensorDetails
from protocol.arrays import FloatArray
from protocol.plan import Plan
from protocol.weights import Weights, check_weights, flatten
from tokenizer.examples import Examples, make_examples, pad_to_batches
from tokenizer.vocabulary import Vocabulary

TRAIN = "train"
SCALAR = TensorDetails((), np.dtype(np.float32))


class PlanDoesNotFit(Exception):
    """A plan whose tensors, batch or vocabulary are not those of its training graph."""


class NothingToTrain(Exception):
    """The messages hold no target that counts."""


class Interrupted(Exception):
    """Training was stopped: a condition ended. What was computed is dropped."""


class LocalUpdate(NamedTuple):
    """What local training gives.

    Attributes:
      update: float32 [num_weights], local weights minus the checkpoint's, in the plan's order; not yet clipped.
      steps: SGD steps taken.
      num_targets: targets that counted in one epoch.
      first_loss: mean cross-entropy of the first batch, in nats, before its step.
      last_loss: of the last batch, likewise.

    """

    update: FloatArray
    steps: int
    num_targets: int
    first_loss: float
    last_loss: float


def train(
    plan: Plan,
    graph: bytes,
    checkpoint: Weights,
    messages: Iterable[str],
    vocabulary: Vocabulary,
    *,
    seed: int,
    should_stop: Callable[[], bool],
) -> LocalUpdate:
    """Trains `checkpoint` on `messages` as the plan says.

    Args:
      plan: of the round.
      graph: the round's TFLite training graph, content-checked.
      checkpoint: the round's weights by name; left as they are.
      messages: texts of the log, each one message.
      vocabulary: of the model.
      seed: of the order of the sequences; the same seed gives the same update.
      should_stop: polled before each step, so that training ends within one step (some 50 ms).

    Raises:
      PlanDoesNotFit: the plan is not for this graph, checkpoint or vocabulary.
      WrongContent: the checkpoint holds other tensors than the plan, or NaN or infinity.
      NothingToTrain: no message has a target.
      Interrupted: `should_stop` said so.
      InvalidModel: the graph cannot be run.

    """
    check_weights(checkpoint, plan.tensors)
    check_vocabulary(plan, vocabulary)
    signature = Model(graph).signature(TRAIN)
    check_fit(plan, signature)
    examples = examples_of(plan, messages, vocabulary)
    batches = _batches(plan, examples, np.random.default_rng(seed))
    trained, losses = _run_steps(plan.training.learning_rate, signature, checkpoint, batches, should_stop)
    del signature  # and the model's memory with it, before that of the update is asked for
    update = flatten(trained, plan.tensors)
    update -= flatten(checkpoint, plan.tensors)  # in place: 6 MB less at the peak
    return LocalUpdate(update, len(losses), examples.num_targets, losses[0], losses[-1])


def check_vocabulary(plan: Plan, vocabulary: Vocabulary) -> None:
    """Checks that the plan's model has this vocabulary's number of words.

    Raises:
      PlanDoesNotFit: it has another.

    """
    if len(vocabulary) not in {spec.shape[0] for spec in plan.tensors}:
        raise PlanDoesNotFit(f"a tensor of the plan must have a row for each of {len(vocabulary)} words, got none")


def examples_of(plan: Plan, messages: Iterable[str], vocabulary: Vocabulary) -> Examples:
    """Makes examples of `messages`, as long as the plan says.

    Raises:
      NothingToTrain: no message has a target.

    """
    encoded = [vocabulary.encode_message(message) for message in messages]
    examples = make_examples(encoded, vocabulary, plan.training.sequence_length)
    if examples.num_targets == 0:
        raise NothingToTrain("messages must hold at least one target, got none")
    return examples


def check_fit(plan: Plan, signature: Signature) -> None:
    """Checks that inputs and outputs of a training graph are exactly those that the plan implies.

    Raises:
      PlanDoesNotFit: a name, shape or type differs.

    """
    weights = weight_details(plan)
    compare_details("input", weights | batch_details(plan) | {"learning_rate": SCALAR}, signature.inputs)
    compare_details("output", weights | {"loss": SCALAR}, signature.outputs)


def weight_details(plan: Plan) -> dict[str, TensorDetails]:
    """The plan's weights, as a signature has them."""
    return {spec.name: TensorDetails(spec.shape, np.dtype(np.float32)) for spec in plan.tensors}


def batch_details(plan: Plan) -> dict[str, TensorDetails]:
    """A batch of the plan, as a signature has it."""
    shape = (plan.training.batch_size, plan.training.sequence_length)
    return {
        "tokens": TensorDetails(shape, np.dtype(np.int32)),
        "targets": TensorDetails(shape, np.dtype(np.int32)),
        "target_weights": TensorDetails(shape, np.dtype(np.float32)),
    }


def compare_details(kind: str, planned: dict[str, TensorDetails], found: dict[str, TensorDetails]) -> None:
    """Checks a signature's inputs or outputs, as `kind` says, against the plan's.

    Raises:
      PlanDoesNotFit: a name, shape or type differs.

    """
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name) != found.get(name):
            raise PlanDoesNotFit(f"{kind} {name} must be {_show(planned.get(name))}, got {_show(found.get(name))}")


def _show(details: TensorDetails | None) -> str:
    return "absent" if details is None else f"{details.dtype} {list(details.shape)}"


def _run_steps(
    learning_rate: float,
    signature: Signature,
    checkpoint: Weights,
    batches: Iterable[Examples],
    should_stop: Callable[[], bool],
) -> tuple[Weights, list[float]]:
    """Runs one SGD step a batch; returns the trained weights and each step's loss."""
    signature.set({"learning_rate": np.array(learning_rate, dtype=np.float32)})
    weights: dict[str, Array] = {name: value.copy() for name, value in checkpoint.items()}
    losses: list[float] = []
    for batch in batches:
        if should_stop():
            raise Interrupted(f"training was stopped after {len(losses)} steps")
        # A step's outputs are the next one's inputs: one copy in, one copy out, under 1 ms of some 25 at full size.
        signature.set(weights | batch._asdict())
        losses.append(float(signature.run(into=weights)["loss"]))
    return weights, losses


def _batches(plan: Plan, examples: Examples, generator: np.random.Generator) -> Iterator[Examples]:
    """Every epoch sees every sequence once, in an order of its own."""
    for _ in range(plan.training.local_epochs):
        order = generator.permutation(len(examples.tokens))
        yield from pad_to_batches(Examples(*(array[order] for array in examples)), plan.training.batch_size)
