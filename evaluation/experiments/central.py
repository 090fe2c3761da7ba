"""Training on pooled text."""

from collections.abc import Callable
from pathlib import Path

from evaluation.experiments.settings import Central
from evaluation.experiments.texts import Texts
from model.network import NetworkShape
from protocol.weights import Weights
from tokenizer.examples import Examples, make_examples
from tokenizer.vocabulary import Vocabulary

SEQUENCE_LENGTH = 40
"""Predictions: 95 % of chat messages have fewer, and lose no context."""


def make_text(training: Central, texts: Texts, vocabulary: Vocabulary) -> Examples:
    """The text that `training` is for."""
    encoded = [vocabulary.encode_message(text) for text in texts.pooled(training.text)]
    return make_examples(encoded, vocabulary, SEQUENCE_LENGTH)


def count_steps(training: Central, examples: Examples) -> int:
    """For a progress bar."""
    from model import pretraining

    return pretraining.count_steps(examples, batch_size=training.batch_size, epochs=training.epochs)


def train_centrally(
    training: Central,
    shape: NetworkShape,
    start: Weights | None,
    vocabulary: Vocabulary,
    examples: Examples,
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
      examples: see `make_text`.
      keep: where it keeps what it needs to go on.
      on_step: called with each step's loss.

    """
    from model.network import initial_weights
    from model.pretraining import pretrain, unigram_bias

    return pretrain(
        shape,
        start or initial_weights(shape, training.seed, unigram_bias(vocabulary)),
        examples,
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        seed=training.seed,
        keep=keep,
        on_step=on_step,
    )
