"""The full-size network is Gboard's."""

import numpy as np
import pytest

from model.network import FULL, SMALL, NetworkShape, initial_weights


def test_the_full_network_has_the_published_number_of_parameters():
    assert FULL.num_weights == 1_422_250
    assert SMALL.num_weights < 50_000


@pytest.mark.parametrize("shape", [FULL, SMALL])
def test_first_weights_fit_the_shape_and_follow_the_seed(shape):
    weights = initial_weights(shape, seed=3)
    assert {name: value.shape for name, value in weights.items()} == {spec.name: spec.shape for spec in shape.tensors}
    assert all(value.dtype == np.float32 for value in weights.values())
    again, other = initial_weights(shape, seed=3), initial_weights(shape, seed=4)
    assert all(np.array_equal(again[name], weights[name]) for name in weights)
    assert not np.array_equal(other["embedding"], weights["embedding"])


def test_the_output_bias_may_begin_at_given_log_shares():
    shares = np.linspace(-9, -1, SMALL.vocabulary_size)
    np.testing.assert_array_equal(initial_weights(SMALL, 0, shares)["output_bias"], shares.astype(np.float32))


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="num_units must be >= 1, got 0"):
        NetworkShape(vocabulary_size=10, embedding_size=2, num_units=0)
