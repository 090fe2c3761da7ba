import math

import numpy as np
import pytest

from model.network import NetworkShape, initial_weights
from model.pretraining import count_steps, pretrain, unigram_bias
from tokenizer.examples import make_examples
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, START_ID, Vocabulary

WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
SIZE = NUM_SPECIAL + len(PUNCTUATION) + len(WORDS)
VOCABULARY = Vocabulary(train_vocabulary({word: 1 / (rank + 1) for rank, word in enumerate(WORDS)}, SIZE))
SHAPE = NetworkShape(vocabulary_size=SIZE, embedding_size=4, num_units=6)
TARGETS = sorted(VOCABULARY.target_ids)


def phrases(count: int, seed: int) -> list[list[int]]:
    """Messages in which each word tells the next: something to learn."""
    generator = np.random.default_rng(seed)
    firsts = generator.integers(len(TARGETS), size=count)
    lengths = generator.integers(2, 9, size=count)
    return [
        [START_ID, *(TARGETS[(first + step) % len(TARGETS)] for step in range(length))]
        for first, length in zip(firsts, lengths, strict=True)
    ]


EXAMPLES = make_examples(phrases(100, 1), VOCABULARY, 8)
STEPS = count_steps(EXAMPLES, epochs=3, batch_size=4)


def train(**named):
    first = initial_weights(SHAPE, 1, unigram_bias(VOCABULARY))
    return pretrain(SHAPE, first, EXAMPLES, epochs=3, batch_size=4, learning_rate=0.02, **named)


@pytest.fixture(scope="module")
def whole():
    """Weights, and the loss of each step."""
    losses: list[float] = []
    return train(on_step=losses.append), losses


def test_steps_are_counted_and_told_and_the_loss_falls(whole):
    _, losses = whole
    assert len(losses) == STEPS
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_another_seed_gives_other_weights(whole):
    assert not np.allclose(whole[0]["embedding"], train(seed=2)["embedding"], atol=1e-4)


def test_training_goes_on_from_the_newest_epoch_that_was_kept(whole, tmp_path):
    class Interrupted(Exception):
        """As by Ctrl-C."""

    def interrupt(loss: float) -> None:
        seen.append(loss)
        if len(seen) == STEPS * 2 // 3 + 2:  # in the last epoch of three
            raise Interrupted

    seen: list[float] = []
    with pytest.raises(Interrupted):
        train(keep=tmp_path, on_step=interrupt)
    told: list[float] = []
    resumed = train(keep=tmp_path, on_step=told.append)
    assert len(told) == STEPS
    assert sum(map(math.isnan, told)) == STEPS * 2 // 3
    for name, value in whole[0].items():
        np.testing.assert_allclose(resumed[name], value, atol=1e-6)
