import math

import numpy as np
import pytest

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, Independent, Mechanism, Tree
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.toeplitz import coefficients
from evaluation.audit.noises import GridNoise, Promise, best_weights, mechanisms, noise_matrix, random_bytes

ROUNDS = 8
BANDED = BandedToeplitz((1.0, 0.5, 0.25))


def a_promise(mechanism: Mechanism, noise_multiplier: float = 1.0) -> Promise:
    return Promise(
        mechanism=mechanism,
        noise_multiplier=noise_multiplier,
        l2_clip_norm=0.5,
        rounds=ROUNDS,
        min_separation=4,
        max_participations=2,
    )


def test_the_pattern_is_as_early_and_as_often_as_allowed() -> None:
    assert a_promise(Independent()).pattern.tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_independent_noise_is_proven_as_two_participations() -> None:
    proven = a_promise(Independent()).proven(5_000, 100, 1e-5)
    assert proven.epsilon == pytest.approx(privacy_spent(1.0, 2, 1e-5).epsilon, rel=1e-4)
    assert proven.epsilon >= privacy_spent(1.0, 2, 1e-5).epsilon


def test_no_noise_has_no_guarantee_and_changes_nothing() -> None:
    promise = a_promise(Independent(), 0.0)
    total = np.linspace(-1, 1, 10)
    assert promise.proven(10, 5, 1e-5).epsilon == math.inf
    assert GridNoise(promise, 10, random_bytes(1)).add(total) is total


@pytest.mark.parametrize("mechanism", [BANDED, mechanisms(ROUNDS, 4, 2)["two buffers"]])
def test_the_stream_is_the_inverse_of_its_matrix(mechanism: Mechanism) -> None:
    column = coefficients(mechanism, ROUNDS)
    matrix = np.array(
        [[column[row - place] if row >= place else 0 for place in range(ROUNDS)] for row in range(ROUNDS)]
    )
    found = noise_matrix(mechanism, ROUNDS)[:, :ROUNDS]
    np.testing.assert_allclose(found @ matrix, np.eye(ROUNDS), atol=1e-7)


@pytest.mark.parametrize("name", ["independent", "two buffers"])
def test_the_best_adversary_sees_as_much_as_the_sensitivity_says(name: str) -> None:
    promise = a_promise(mechanisms(ROUNDS, 4, 2)[name])
    signal = math.sqrt(promise.pattern @ best_weights(promise.mechanism, promise.pattern))
    moved = sensitivity(promise.mechanism, rounds=ROUNDS, min_separation=4, max_participations=2)
    assert signal == pytest.approx(moved, rel=1e-6)


def test_a_tree_shows_no_more_than_its_sensitivity() -> None:
    promise = a_promise(Tree(ROUNDS))
    signal = math.sqrt(promise.pattern @ best_weights(promise.mechanism, promise.pattern))
    assert 0.8 * math.sqrt(10) < signal <= math.sqrt(10)


@pytest.mark.parametrize("mechanism", [Independent(), Tree(ROUNDS), BANDED])
def test_noise_has_the_covariance_of_its_matrix(mechanism: Mechanism) -> None:
    size = 40_000
    noise = GridNoise(a_promise(mechanism), size, random_bytes(3))
    drawn = np.stack([noise.add(np.zeros(size)) for _ in range(ROUNDS)]) / 0.5
    matrix = noise_matrix(mechanism, ROUNDS)
    np.testing.assert_allclose(drawn @ drawn.T / size, matrix @ matrix.T, atol=0.05)


def test_the_same_seed_draws_the_same_noise() -> None:
    assert random_bytes(1, "a")(64) == random_bytes(1, "a")(64)
    assert random_bytes(1, "a")(64) != random_bytes(1, "b")(64)
    assert random_bytes(1, "a")(64) != random_bytes(2, "a")(64)
