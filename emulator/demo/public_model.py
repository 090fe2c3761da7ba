"""What is made from public text alone, before any device takes part: vocabulary, casing, pre-trained weights."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import wordfreq

from model.network import NetworkShape, initial_weights
from model.pretraining import count_steps, pretrain, unigram_bias
from protocol.weights import Weights
from tokenizer.casing import Casing, learn_casing
from tokenizer.examples import Examples, make_examples
from tokenizer.training import blend_counts, count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

BATCH_SIZE = 10
SEQUENCE_LENGTH = 24


@dataclass(frozen=True, kw_only=True)
class PublicWords:
    """Vocabulary and casing, and the counts of the donors' text alone, which are the unigram baseline's."""

    vocabulary: Vocabulary
    casing: Casing
    counts: Counter[str]


def learn_words(donor_texts: Sequence[str], *, size: int, public_weight: float) -> PublicWords:
    """Makes a vocabulary of `size` ids from public word counts (wordfreq) and the donors' text."""
    counts = count_words(donor_texts)
    shares = blend_counts(wordfreq.get_frequency_dict("en"), counts, public_weight)
    vocabulary = Vocabulary(train_vocabulary(shares, size))
    return PublicWords(vocabulary=vocabulary, casing=learn_casing(donor_texts), counts=counts)


def donor_examples(donor_texts: Sequence[str], vocabulary: Vocabulary) -> Examples:
    """The donors' text as training sequences."""
    return make_examples([vocabulary.encode_message(text) for text in donor_texts], vocabulary, SEQUENCE_LENGTH)


def pretraining_steps(examples: Examples, epochs: int) -> int:
    """Steps that `pretrain_on` will take."""
    return count_steps(examples, batch_size=BATCH_SIZE, epochs=epochs)


def pretrain_on(
    examples: Examples,
    shape: NetworkShape,
    vocabulary: Vocabulary,
    *,
    epochs: int,
    seed: int,
    on_step: Callable[[float], None],
) -> Weights:
    """Trains a network of `shape` on donors' text, from random weights and the vocabulary's shares as output bias."""
    first = initial_weights(shape, seed, unigram_bias(vocabulary))
    return pretrain(shape, first, examples, epochs=epochs, batch_size=BATCH_SIZE, seed=seed, on_step=on_step)
