import msgspec
import numpy as np
import pytest

from device_runtime.rounds.evaluator import evaluate
from device_runtime.rounds.trainer import Interrupted, NothingToTrain, PlanDoesNotFit
from model.network import initial_weights
from protocol.errors import WrongContent
from protocol.evaluation import NO_MODEL, ModelSums
from tokenizer.examples import make_examples


@pytest.fixture
def evaluation_plan(plan):
    return msgspec.structs.replace(plan, kind="evaluation")


@pytest.fixture
def other(shape):
    return initial_weights(shape, seed=4)


@pytest.fixture
def run(*, evaluation_plan, graph, checkpoint, other, messages, vocabulary):
    """Evaluates with everything as it should be but what a test changes."""

    def run_with(**changes):
        arguments = {
            "plan": evaluation_plan,
            "graph": graph,
            "candidate": checkpoint,
            "baseline": other,
            "messages": messages,
            "vocabulary": vocabulary,
            "should_stop": lambda: False,
        }
        return evaluate(**(arguments | changes))

    return run_with


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def oracle(weights, texts, vocabulary, sequence_length):
    """A brute-force evaluation in numpy float64: one word after the other, and a sort for the rank."""
    examples = make_examples([vocabulary.encode_message(text) for text in texts], vocabulary, sequence_length)
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    totals = np.zeros(3)
    for tokens, targets, counts in zip(*examples, strict=True):
        cell = np.zeros(weights["projection"].shape[0])
        projected = np.zeros(weights["projection"].shape[1])
        for token, target, counts_here in zip(tokens, targets, counts, strict=True):
            cell, projected = oracle_step(weights, token, cell, projected)
            logits = weights["embedding"] @ projected + weights["output_bias"]
            if counts_here:
                place = list(np.argsort(-logits, kind="stable")).index(target)
                loss = np.log(np.exp(logits).sum()) - logits[target]
                totals += [place == 0, place < 3, loss]
    return ModelSums(*totals)


def oracle_step(weights, token, cell, projected):
    """One step of the network from its equations: arXiv 1402.1128, section 2, with the forget gate 1 - i."""
    units = len(cell)
    gates = weights["embedding"][token] @ weights["input_kernel"] + projected @ weights["recurrent_kernel"]
    gates = gates + weights["gate_bias"]
    i, o, g = sigmoid(gates[:units]), sigmoid(gates[units : 2 * units]), np.tanh(gates[2 * units :])
    cell = (1 - i) * cell + i * g
    return cell, (o * np.tanh(cell)) @ weights["projection"]


def test_hits_are_those_of_a_brute_force_evaluation(*, run, checkpoint, other, messages, vocabulary, each_runtime):
    found = run()
    for sums, weights in ((found.candidate, checkpoint), (found.baseline, other)):
        expected = oracle(weights, messages, vocabulary, 6)
        assert (sums.top1_hits, sums.top3_hits) == (expected.top1_hits, expected.top3_hits)
        assert sums.loss_nats == pytest.approx(expected.loss_nats, rel=1e-4)
    assert found.candidate != found.baseline


def test_both_models_are_counted_on_the_targets_of_training(*, run, messages, vocabulary):
    examples = make_examples([vocabulary.encode_message(text) for text in messages], vocabulary, 6)
    found = run()
    assert found.num_targets == examples.num_targets
    for sums in (found.candidate, found.baseline):
        assert 0 <= sums.top1_hits <= sums.top3_hits <= found.num_targets


def test_without_a_baseline_its_sums_are_zero(run, checkpoint):
    found = run(baseline=None)
    assert found.baseline == NO_MODEL
    assert found.candidate == run(baseline=checkpoint).baseline


def test_weights_and_evaluation_are_repeatable(run, checkpoint):
    before = {name: value.copy() for name, value in checkpoint.items()}
    assert run() == run()
    for name, value in before.items():
        np.testing.assert_array_equal(checkpoint[name], value)


@pytest.mark.parametrize("batches_before", [0, 1, 3])
def test_a_stop_ends_evaluation_before_the_next_batch(run, batches_before):
    polls = iter([False] * batches_before + [True])
    with pytest.raises(Interrupted, match="evaluation was stopped"):
        run(should_stop=lambda: next(polls))


@pytest.mark.parametrize("texts", [[], [""], ["..."], ["zzz qqq"]], ids=["none", "empty", "marks", "unknown"])
def test_nothing_to_evaluate(run, texts):
    with pytest.raises(NothingToTrain):
        run(messages=texts)


def test_plan_that_does_not_fit(run, evaluation_plan):
    larger = msgspec.structs.replace(evaluation_plan.training, batch_size=5)
    with pytest.raises(PlanDoesNotFit, match="must be float32"):
        run(plan=msgspec.structs.replace(evaluation_plan, training=larger))


def test_a_baseline_of_another_model_is_refused(run, other):
    with pytest.raises(WrongContent, match="output_bias must be float32"):
        run(baseline=other | {"output_bias": other["output_bias"][:-1]})
