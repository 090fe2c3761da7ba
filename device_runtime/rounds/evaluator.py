"""Local evaluation: hits and counts of a candidate, and of what it should beat, on the log. Trains nothing."""

from collections.abc import Callable, Iterable

import numpy as np

from device_runtime.rounds.trainer import (
    SCALAR,
    Interrupted,
    batch_details,
    check_vocabulary,
    compare_details,
    examples_of,
    weight_details,
)
from device_runtime.runtime import Model, Signature
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums
from protocol.plan import Plan
from protocol.weights import Weights, check_weights
from tokenizer.examples import Examples, pad_to_batches
from tokenizer.vocabulary import Vocabulary

EVALUATE = "evaluate"
_SUMS = ("top1_hits", "top3_hits", "loss_sum")


def evaluate(
    plan: Plan,
    graph: bytes,
    candidate: Weights,
    messages: Iterable[str],
    vocabulary: Vocabulary,
    *,
    baseline: Weights | None,
    should_stop: Callable[[], bool],
) -> EvaluationSums:
    """Counts how often two models foresee the words of `messages`.

    Args:
      plan: of the round.
      graph: the round's TFLite training graph, content-checked.
      candidate: the weights in question, by name.
      messages: texts of the log, each one message.
      vocabulary: of both models.
      baseline: the weights of the current release; None where there is none.
      should_stop: polled before each batch of each model, so that evaluation ends within one batch.

    Guarantees:
      Both models are counted on the same targets.

    Raises:
      PlanDoesNotFit: the plan is not for this graph or vocabulary.
      WrongContent: a checkpoint holds other tensors than the plan, or NaN or infinity.
      NothingToTrain: no message has a target.
      Interrupted: `should_stop` said so.
      InvalidModel: the graph cannot be run.

    """
    for weights in (candidate, baseline):
        if weights is not None:
            check_weights(weights, plan.tensors)
    check_vocabulary(plan, vocabulary)
    signature = Model(graph).signature(EVALUATE)
    compare_details("input", weight_details(plan) | batch_details(plan), signature.inputs)
    compare_details("output", dict.fromkeys((*_SUMS, "num_targets"), SCALAR), signature.outputs)
    examples = examples_of(plan, messages, vocabulary)
    batches = pad_to_batches(examples, plan.training.batch_size)
    return EvaluationSums(
        candidate=_count(signature, candidate, batches, should_stop),
        baseline=NO_MODEL if baseline is None else _count(signature, baseline, batches, should_stop),
        num_targets=float(examples.num_targets),
    )


def _count(
    signature: Signature, weights: Weights, batches: Iterable[Examples], should_stop: Callable[[], bool]
) -> ModelSums:
    totals = np.zeros(len(_SUMS), np.float64)
    for number, batch in enumerate(batches):
        if should_stop():
            raise Interrupted(f"evaluation was stopped after {number} batches")
        # All inputs again, weights too: a runtime may reuse an input's memory for what it computes.
        found = signature({**weights, **batch._asdict()})
        totals += [float(found[name]) for name in _SUMS]
    return ModelSums(*totals.tolist())
