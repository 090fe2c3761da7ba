"""Training on pooled text."""

from collections.abc import Callable
from pathlib import Path

from evaluation.experiments.settings import Central
from evaluation.experiments.texts import Texts
from model.network import NetworkShape
from protocol.weights import Weights
from tokenizer.examples import Examples
from tokenizer.vocabulary import Vocabulary

LENGTHS = (6, 10, 14, 20, 28, 40, 64)
"""Predictions a sequence: 95 % of chat messages have fewer than 40, and little of a batch is padding."""


def make_text(training: Central, texts: Texts, vocabulary: Vocabulary) -> tuple[Examples, ...]:
    """The text that `training` is for, by length."""
    from model.pretraining import make_buckets

    encoded = [vocabulary.encode_message(text) for text in texts.pooled(training.text)]
    return make_buckets(encoded, vocabulary, LENGTHS)


def count_steps(training: Central, buckets: tuple[Examples, ...]) -> int:
    """For a progress bar."""
    from model import pretraining

    return pretraining.count_steps(buckets, epochs=training.epochs, batch_words=training.batch_words)


def train_centrally(
    training: Central,
    shape: NetworkShape,
    start: Weights | None,
    vocabulary: Vocabulary,
    buckets: tuple[Examples, ...],
    *,
    keep: Path,
    on_step: Callable[[float], None],
) -> Weights:
    """Trains.

    Args:
      training: how.
      shape: of the network.
      start: weights to start from; None for random ones, and the words' shares as output bias.
      vocabulary: of the network.
      buckets: see `make_text`.
      keep: where it keeps what it needs to go on.
      on_step: called with each step's loss.

    """
    from model.network import initial_weights
    from model.pretraining import pretrain, unigram_bias

    return pretrain(
        shape,
        start or initial_weights(shape, training.seed, unigram_bias(vocabulary)),
        buckets,
        epochs=training.epochs,
        batch_words=training.batch_words,
        learning_rate=training.learning_rate,
        seed=training.seed,
        keep=keep,
        on_step=on_step,
    )
