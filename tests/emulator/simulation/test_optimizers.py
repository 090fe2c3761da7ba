"""The service's own optimisers are the oracle."""

import numpy as np
import pytest

from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum, decode_state

OPTIMIZERS = [
    ServerAverage(learning_rate=0.7),
    ServerMomentum(),
    ServerMomentum(momentum=0.5, learning_rate=1.3),
    ServerAdam(),
    ServerAdam(learning_rate=0.1, beta1=0.8, beta2=0.95, adaptivity=1e-2),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_tff_takes_the_services_steps(optimizer):
    import tensorflow as tf

    from emulator.simulation.optimizers import as_tff

    generator = np.random.default_rng(7)
    weights = generator.normal(size=50).astype(np.float32)
    state, theirs, other = decode_state(optimizer, None, weights.size), (tf.constant(weights),), as_tff(optimizer)
    their_state = other.initialize((tf.TensorSpec([50], tf.float32),))
    for _ in range(8):
        average = generator.normal(scale=0.1, size=50).astype(np.float32)
        weights, state = optimizer.step(weights, state, average.astype(np.float64))
        their_state, theirs = other.next(their_state, theirs, (tf.constant(-average),))
        assert np.allclose(weights, theirs[0].numpy(), rtol=1e-5, atol=1e-6)
