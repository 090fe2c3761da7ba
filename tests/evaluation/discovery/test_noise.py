import math

import pytest

from aggregation_service.privacy.accounting import privacy_spent
from evaluation.discovery.noise import noise_for
from protocol.discovery.parameters import DiscoveryParameters


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 8.0])
def test_all_levels_cost_what_was_asked_for_and_hardly_less(epsilon: float) -> None:
    parameters = DiscoveryParameters()
    noise = noise_for(epsilon, 1e-6, parameters, 10_000)
    assert 0.9999 * epsilon < noise.spent.epsilon <= epsilon
    assert noise.deviation == pytest.approx(4 * noise.noise_multiplier)
    composed = privacy_spent(noise.noise_multiplier, len(parameters.steps), 1e-6)
    assert composed.epsilon == pytest.approx(epsilon, rel=1e-3)


def test_more_levels_and_more_words_need_more_noise() -> None:
    few = noise_for(1.0, 1e-6, DiscoveryParameters(steps=(3, 2)), 1_000)
    levels = noise_for(1.0, 1e-6, DiscoveryParameters(steps=(3, 2, 2, 2, 2, 2, 2, 2)), 1_000)
    words = noise_for(1.0, 1e-6, DiscoveryParameters(steps=(3, 2), max_words=64), 1_000)
    assert levels.deviation / few.deviation == pytest.approx(2, rel=1e-3)
    assert words.deviation / few.deviation == pytest.approx(2, rel=1e-3)


def test_noise_scales_with_the_population_that_devices_stand_for() -> None:
    noise = noise_for(1.0, 1e-6, DiscoveryParameters(), 1_000)
    grid = noise.scaled(0.01)
    assert math.isclose(grid.sigma * grid.step, noise.deviation / 100, rel_tol=1e-8)
