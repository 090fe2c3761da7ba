import msgspec
import numpy as np
import pytest

from device_runtime.rounds.trainer import Interrupted, NothingToTrain, PlanDoesNotFit, check_fit, train
from device_runtime.runtime import Model
from protocol.errors import WrongContent
from protocol.plan import TensorSpec
from protocol.weights import flatten
from tokenizer.examples import make_examples, pad_to_batches
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary


@pytest.fixture
def run(plan, graph, checkpoint, messages, vocabulary):
    """Trains with everything as it should be but what a test changes."""

    def run_with(**changes):
        arguments = {
            "plan": plan,
            "graph": graph,
            "checkpoint": checkpoint,
            "messages": messages,
            "vocabulary": vocabulary,
            "seed": 1,
            "should_stop": lambda: False,
        }
        return train(**(arguments | changes))

    return run_with


def with_training(plan, **changes):
    return msgspec.structs.replace(plan, training=msgspec.structs.replace(plan.training, **changes))


def test_one_batch_is_one_step_of_the_graph(*, run, plan, graph, checkpoint, vocabulary, each_runtime):
    texts = ["see you at the station", "the train is late"]
    update = run(messages=texts).update
    examples = make_examples([vocabulary.encode_message(text) for text in texts], vocabulary, 6)
    [batch] = pad_to_batches(examples, 4)
    rate = {"learning_rate": np.array(plan.training.learning_rate, np.float32)}
    stepped = Model(graph).signature("train")(checkpoint | batch._asdict() | rate)
    np.testing.assert_allclose(
        update, flatten(stepped, plan.tensors) - flatten(checkpoint, plan.tensors), rtol=1e-4, atol=1e-7
    )


def test_training_lowers_the_loss(run, plan, each_runtime):
    result = run(plan=with_training(plan, local_epochs=20, learning_rate=2.0), messages=["the train is late"] * 8)
    assert result.last_loss < 0.5 * result.first_loss
    assert result.update.shape == (plan.num_weights,)
    assert result.update.dtype == np.float32


def test_steps_are_epochs_times_batches(run, plan, messages, vocabulary):
    examples = make_examples([vocabulary.encode_message(text) for text in messages], vocabulary, 6)
    batches = len(pad_to_batches(examples, 4))
    assert run(plan=with_training(plan, local_epochs=3)).steps == 3 * batches
    assert run().num_targets == examples.num_targets


def test_checkpoint_is_left_as_it_is(run, checkpoint):
    before = {name: value.copy() for name, value in checkpoint.items()}
    run()
    for name, value in before.items():
        np.testing.assert_array_equal(checkpoint[name], value)


def test_seed_fixes_the_update(run):
    np.testing.assert_array_equal(run(seed=5).update, run(seed=5).update)
    assert not np.array_equal(run(seed=5).update, run(seed=6).update)


def test_runtimes_train_alike(run, monkeypatch):
    updates = []
    for runtime in ("tflite_runtime", "ai_edge_litert"):
        monkeypatch.setenv("KEYCHORUS_TFLITE", runtime)
        updates.append(run().update)
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_a_stop_ends_training_before_the_next_step(run, plan, steps_before):
    polls = iter([False] * steps_before + [True])
    with pytest.raises(Interrupted, match=f"after {steps_before} steps"):
        run(plan=with_training(plan, local_epochs=5), should_stop=lambda: next(polls))


@pytest.mark.parametrize("texts", [[], [""], ["..."], ["zzz qqq"]], ids=["none", "empty", "marks", "unknown"])
def test_nothing_to_train(run, texts):
    with pytest.raises(NothingToTrain):
        run(messages=texts)


@pytest.mark.parametrize(
    "text", ["you " * 20_000, "x" * 100_000, "שלום you", "\ud800 you", "you \U0001f600 home"], ids=range(5)
)
def test_odd_text_trains(run, text):
    assert np.isfinite(run(messages=[text, "see you"]).update).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"batch_size": 5}, "input target_weights must be float32"), ({"sequence_length": 7}, "must be float32")],
)
def test_plan_with_another_batch_does_not_fit(run, plan, changes, message):
    with pytest.raises(PlanDoesNotFit, match=message):
        run(plan=with_training(plan, **changes))


def test_plan_with_other_tensors_does_not_fit(plan, graph):
    signature = Model(graph).signature("train")
    check_fit(plan, signature)
    first, *others = plan.tensors
    renamed = (TensorSpec(name="renamed", shape=first.shape), *others)
    reshaped = (TensorSpec(name=first.name, shape=first.shape[::-1]), *others)
    for tensors in (renamed, reshaped, tuple(others), (*plan.tensors, TensorSpec(name="more", shape=(1,)))):
        with pytest.raises(PlanDoesNotFit):
            check_fit(msgspec.structs.replace(plan, tensors=tensors), signature)


def test_graph_without_training_signature_does_not_fit(plan, prediction_model):
    signature = Model(prediction_model).signature("predict")
    with pytest.raises(PlanDoesNotFit, match="must be"):
        check_fit(plan, signature)


def test_vocabulary_of_another_size_does_not_fit(run, messages):
    counts = count_words(messages)
    words = [word for word in counts if word not in ".,?!:;"]
    smaller = Vocabulary(train_vocabulary(counts, size=len(words) - 2 + 3 + 6))
    with pytest.raises(PlanDoesNotFit, match="a row for each"):
        run(vocabulary=smaller)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_checkpoint_must_be_finite(run, checkpoint, value):
    broken = checkpoint | {"output_bias": np.full_like(checkpoint["output_bias"], value)}
    with pytest.raises(WrongContent, match="output_bias must be finite"):
        run(checkpoint=broken)
