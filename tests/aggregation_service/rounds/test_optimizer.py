import numpy as np
import pytest

from aggregation_service.rounds.optimizer import ServerMomentum


def test_against_a_loop_written_by_hand() -> None:
    generator = np.random.default_rng(1)
    weights = generator.normal(size=50).astype(np.float32)
    velocity = np.zeros(50, np.float32)
    expected_weights, expected_velocity = weights.tolist(), [0.0] * 50
    for _ in range(10):
        average = generator.normal(size=50)
        weights, (velocity,) = ServerMomentum(momentum=0.9, learning_rate=0.7).step(weights, (velocity,), average)
        for i in range(50):
            expected_velocity[i] = 0.9 * expected_velocity[i] + average[i]
            expected_weights[i] += 0.7 * expected_velocity[i]
    np.testing.assert_allclose(weights, expected_weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(velocity, expected_velocity, rtol=0, atol=1e-5)
    assert weights.dtype == velocity.dtype == np.float32


def test_without_momentum_it_is_plain_averaging_and_changes_no_argument() -> None:
    weights, velocity, average = np.ones(3, np.float32), np.full(3, 5, np.float32), np.full(3, 0.25)
    step = ServerMomentum(momentum=0, learning_rate=1).step(weights, (velocity,), average)
    assert step.weights.tolist() == [1.25] * 3
    assert (weights == 1).all()
    assert (velocity == 5).all()


@pytest.mark.parametrize(("momentum", "rate"), [(-0.1, 1), (1.0, 1), (float("nan"), 1), (0.9, 0), (0.9, float("inf"))])
def test_absurd_settings_are_refused(momentum: float, rate: float) -> None:
    with pytest.raises(ValueError, match=r"server_(momentum|learning_rate) must be .* got"):
        ServerMomentum(momentum=momentum, learning_rate=rate)
