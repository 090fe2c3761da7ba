"""What is exported computes what TensorFlow computes, on both runtimes, with built-in operations only."""

import ai_edge_litert.interpreter
import numpy as np
import pytest
import tensorflow as tf
import tflite_runtime.interpreter
from reference import logits, random_batch, random_weights, tape_loss_and_gradient

from model.backward import Batch, sgd_step
from model.export import export_prediction_model, export_training_graph
from model.network import FULL, SMALL, initial_weights

RUNTIMES = {
    "tflite-runtime": tflite_runtime.interpreter.Interpreter,
    "ai-edge-litert": ai_edge_litert.interpreter.Interpreter,
}


@pytest.fixture(scope="module", params=["small", "full"])
def case(request):
    shape = {"small": SMALL, "full": FULL}[request.param]
    weights = random_weights(shape) if request.param == "small" else initial_weights(shape, 2)
    return shape, weights, export_training_graph(shape, batch_size=16, sequence_length=12), random_batch(shape, 16, 12)


def run(runtime, model, signature, **inputs):
    interpreter = RUNTIMES[runtime](model_content=model, num_threads=1)
    return {name: np.copy(value) for name, value in interpreter.get_signature_runner(signature)(**inputs).items()}


def named(batch):
    return dict(zip(("tokens", "targets", "target_weights"), batch, strict=True))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_training_step_is_tensorflows(case, runtime):
    _, weights, model, batch = case
    got = run(runtime, model, "train", **named(batch), learning_rate=np.float32(0.5), **weights)
    tensors = {name: tf.constant(value) for name, value in weights.items()}
    loss, stepped = sgd_step(tensors, Batch(*map(tf.constant, batch)), tf.constant(0.5))
    assert float(got.pop("loss")) == pytest.approx(float(loss), rel=1e-5)
    assert float(loss) == pytest.approx(tape_loss_and_gradient(weights, batch)[0], rel=1e-5)
    assert set(got) == set(weights)
    for name, value in got.items():
        change, expected = value - weights[name], stepped[name].numpy() - weights[name]
        assert np.linalg.norm(change - expected) <= 1e-4 * np.linalg.norm(expected), name


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_evaluating_a_batch_counts_what_numpy_counts(case, runtime):
    _, weights, model, batch = case
    tokens, targets, target_weights = batch
    got = run(runtime, model, "evaluate", **named(batch), **weights)
    scores = logits(weights, tokens).numpy().astype(np.float64)
    target = np.take_along_axis(scores, targets[..., None], axis=2)
    ranks = (scores > target).sum(axis=2)
    losses = np.log(np.exp(scores - target).sum(axis=2))
    assert float(got["num_targets"]) == target_weights.sum()
    assert float(got["loss_sum"]) == pytest.approx(float((losses * target_weights).sum()), rel=1e-5)
    assert abs(float(got["top1_hits"]) - ((ranks < 1) * target_weights).sum()) <= 1
    assert abs(float(got["top3_hits"]) - ((ranks < 3) * target_weights).sum()) <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_int8_model_predicts_nearly_what_the_network_predicts(runtime):
    weights = random_weights(SMALL)
    model = export_prediction_model(weights)
    runner = RUNTIMES[runtime](model_content=model).get_signature_runner("predict")
    tokens = random_batch(SMALL, 1, 20)[0]
    expected = logits(weights, tokens).numpy()[0]
    state = {
        "state_cell": np.zeros((1, SMALL.num_units), np.float32),
        "state_projection": np.zeros((1, SMALL.embedding_size), np.float32),
    }
    for step in range(20):
        answer = dict(runner(token=tokens[:, step], **state))
        got = np.copy(answer.pop("logits"))[0]
        state = {name: np.copy(value) for name, value in answer.items()}
        assert np.corrcoef(got, expected[step])[0, 1] > 0.99


def test_the_full_int8_model_is_small():
    assert len(export_prediction_model(initial_weights(FULL, 0))) <= 1_500_000


def test_only_built_in_operations_and_no_slow_products():
    operators = training_operators()
    used = {name for name, _, _ in operators}
    assert "BATCH_MATMUL" in used
    assert not used & {"CUSTOM", "FULLY_CONNECTED", "WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    products = [options for name, options, _ in operators if name == "BATCH_MATMUL"]
    assert not any(product.adjX or product.adjY for product in products)


def test_nothing_keeps_the_quick_kernels_away():
    """One of these, anywhere in the graph, and tflite-runtime runs all of it without XNNPACK."""
    operators = training_operators()
    assert "UNSORTED_SEGMENT_SUM" not in {name for name, _, _ in operators}  # its result has no fixed shape
    float32 = 0
    assert {inputs[0] for name, _, inputs in operators if name == "TRANSPOSE"} == {float32}


def training_operators():
    """Name, options and input types of every operator of the training graph."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.ModelT.InitFromPackedBuf(export_training_graph(FULL), 0)
    assert all(code.customCode is None for code in model.operatorCodes)
    [train] = [model.subgraphs[one.subgraphIndex] for one in model.signatureDefs if one.signatureKey == b"train"]
    return [
        (
            names[model.operatorCodes[operator.opcodeIndex].builtinCode],
            operator.builtinOptions,
            [train.tensors[index].type for index in operator.inputs],
        )
        for operator in train.operators
    ]


def test_a_plan_is_small_for_it_holds_no_weights():
    assert len(export_training_graph(FULL)) < 200_000
