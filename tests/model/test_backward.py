"""The hand-written gradient against TensorFlow's tape, and against finite differences in float64."""

import numpy as np
import pytest
import tensorflow as tf
from reference import random_batch, random_weights, tape_loss_and_gradient

from model.backward import Batch, gradient, sgd_step
from model.forward import forward_logits, zero_state
from model.network import FULL, SMALL, NetworkShape, initial_weights
from tokenizer.vocabulary import START_ID

TINY = NetworkShape(vocabulary_size=7, embedding_size=3, num_units=4)


def ours(weights, batch):
    result = gradient({name: tf.constant(value) for name, value in weights.items()}, Batch(*map(tf.constant, batch)))
    return float(result.loss), {name: value.numpy() for name, value in result.by_name.items()}


@pytest.mark.parametrize(
    ("weights", "batch"),
    [
        (initial_weights(FULL, 1), random_batch(FULL, 16, 12)),
        (random_weights(SMALL), random_batch(SMALL, 16, 12)),
        (random_weights(SMALL), random_batch(SMALL, 1, 1)),
        (random_weights(TINY), random_batch(TINY, 5, 9)),
    ],
    ids=["full", "small", "one word", "repeated words"],
)
def test_it_agrees_with_the_tape(weights, batch):
    batch[2][0, 0] = 1  # at least one target counts
    expected_loss, expected = tape_loss_and_gradient(weights, batch)
    loss, got = ours(weights, batch)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert set(got) == set(expected)
    for name in expected:
        assert np.linalg.norm(got[name] - expected[name]) <= 1e-5 * np.linalg.norm(expected[name]), name


def test_a_message_behind_another_is_read_as_if_alone():
    weights = {name: tf.constant(value) for name, value in random_weights(SMALL).items()}
    first, second = [START_ID, 7, 8, 9], [START_ID, 5, 6]
    together, _ = forward_logits(weights, tf.constant([[*first, *second]]), zero_state(1, weights))
    alone, _ = forward_logits(weights, tf.constant([second]), zero_state(1, weights))
    np.testing.assert_allclose(together[:, len(first) :], alone, rtol=1e-5, atol=1e-6)


def test_a_scale_is_of_the_gradient_and_not_of_the_loss():
    weights = {name: tf.constant(value) for name, value in random_weights(SMALL).items()}
    batch = Batch(*map(tf.constant, random_batch(SMALL, 4, 3)))
    plain, scaled = gradient(weights, batch), gradient(weights, batch, 0.25)
    assert float(scaled.loss) == float(plain.loss)
    for name, value in plain.by_name.items():
        np.testing.assert_allclose(scaled.by_name[name], 0.25 * value, rtol=1e-5, atol=1e-9, err_msg=name)


def test_it_agrees_with_finite_differences_in_float64():
    weights = {name: value.astype(np.float64) for name, value in random_weights(TINY).items()}
    tokens, targets, target_weights = random_batch(TINY, 3, 4, seed=1)
    batch = (tokens, targets, target_weights.astype(np.float64))
    _, got = ours(weights, batch)
    step = 1e-6
    for name, value in weights.items():
        expected = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * step
                losses.append(ours({**weights, name: moved}, batch)[0])
            expected[index] = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(got[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)


def test_a_batch_of_padding_only_changes_nothing():
    tokens, targets, target_weights = random_batch(SMALL, 4, 3)
    weights = {name: tf.constant(value) for name, value in random_weights(SMALL).items()}
    batch = Batch(tf.constant(tokens), tf.constant(targets), tf.zeros_like(target_weights))
    loss, stepped = sgd_step(weights, batch, tf.constant(1.0))
    assert float(loss) == 0
    for name, value in weights.items():
        np.testing.assert_array_equal(stepped[name], value)


def test_padding_on_a_word_of_probability_zero_leaves_the_loss_finite():
    weights = random_weights(SMALL)
    weights["output_bias"][0] = -200.0
    tokens, targets, target_weights = random_batch(SMALL, 4, 3)
    targets[0, 0], target_weights[0, 0] = 0, 0.0
    loss, got = ours(weights, (tokens, targets, target_weights))
    assert np.isfinite(loss)
    assert all(np.isfinite(value).all() for value in got.values())


def test_a_step_goes_down():
    weights = {name: tf.constant(value) for name, value in random_weights(SMALL).items()}
    batch = Batch(*map(tf.constant, random_batch(SMALL, 16, 12)))
    before, stepped = sgd_step(weights, batch, tf.constant(0.1))
    after, _ = sgd_step(stepped, batch, tf.constant(0.1))
    assert float(after) < float(before)
