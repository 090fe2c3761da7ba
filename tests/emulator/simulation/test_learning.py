"""What TFF does with updates, by the service's own trees and by counting."""

import numpy as np
import pytest

from aggregation_service.privacy.mechanisms.trees import estimate_variance
from device_runtime.rounds import trainer
from emulator.simulation.settings import sweep_runs
from model.network import NetworkShape
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from tokenizer.examples import Examples

SIZE, COHORT, NOISE, CLIP = 20_000, 4, 0.5, 3.0
DEVIATION = NOISE * CLIP / COHORT


def run_settings(aggregator, noise=NOISE):
    (run,) = sweep_runs(
        aggregators=[aggregator], noise_multipliers=[noise], clip_norms=[CLIP], learning_rates=[1.0],
        server_optimizers=["average"], server_learning_rates=[None], rounds=1, cohort=COHORT, seed=5,
    )  # fmt: skip
    return run


def averages(run, updates, rounds):
    """What TFF's aggregator makes of the same updates, round by round: [rounds, SIZE]."""
    import tensorflow_federated as tff

    from emulator.simulation.learning import aggregator
    from emulator.simulation.runtime import tff_runtime

    factory = aggregator(run, [TensorSpec(name="x", shape=(SIZE,))])
    process = factory.create(tff.types.StructWithPythonType([(np.float32, (SIZE,))], tuple))
    found = []
    with tff_runtime(num_threads=1):
        state = process.initialize()
        for _ in range(rounds):
            output = process.next(state, [(update,) for update in updates])
            state = output.state
            found.append(np.asarray(output.result[0], np.float64))
    return np.array(found)


@pytest.mark.parametrize("aggregator", ["mean", "gaussian", "tree"])
def test_without_noise_all_give_the_average_of_clipped_updates(aggregator):
    generator = np.random.default_rng(3)
    updates = [generator.normal(size=SIZE).astype(np.float32) * scale for scale in (1.0, 0.01, 0.001, 0.1)]
    expected = sum(update * min(1.0, CLIP / np.linalg.norm(update)) for update in updates) / COHORT
    for average in averages(run_settings(aggregator, noise=0.0), updates, rounds=2):
        assert np.linalg.norm(average - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("aggregator", ["gaussian", "tree"])
def test_noise_is_as_large_as_the_service_says(aggregator):
    """Running sums of four rounds: fresh noise adds up, a tree's is Honaker's estimate of the nodes that cover them."""
    noise = np.cumsum(averages(run_settings(aggregator), [np.zeros(SIZE, np.float32)] * COHORT, rounds=4), axis=0)
    leaf, two, four = (estimate_variance(height) for height in range(3))
    expected = {"gaussian": [1, 2, 3, 4], "tree": [leaf, two, two + leaf, four]}[aggregator]
    assert np.allclose(noise.var(axis=1) / DEVIATION**2, expected, rtol=0.05)


@pytest.mark.parametrize("epochs", [1, 3])
def test_batches_come_in_the_order_of_the_devices_trainer(epochs):
    from emulator.simulation.learning import batches

    training = TrainingParameters(
        batch_size=4, sequence_length=5, local_epochs=epochs, learning_rate=1.0, max_words=1_000
    )
    plan = Plan(
        tensors=NetworkShape(vocabulary_size=9, embedding_size=2, num_units=2).tensors,
        training=training,
        privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=1, minimum_separation_s=0.0),
    )
    generator = np.random.default_rng(1)
    ids = generator.integers(0, 9, (2, 22, 5)).astype(np.int32)
    examples = Examples(ids[0], ids[1], (ids[1] > 2).astype(np.float32))
    theirs = list(trainer._batches(plan, examples, np.random.default_rng(11)))
    ours = batches(examples, 11, training)
    assert len(ours.tokens) == epochs * 6
    for name in Examples._fields:
        assert np.array_equal(getattr(ours, name), np.stack([getattr(batch, name) for batch in theirs]))
