"""Weights for a vocabulary that grew: a row and a bias for each new word, everything else as it was.

The embedding is tied: a word's row is what the network reads of it and what its logit is made of. A new word begins as
the mean of the vocabulary's rarest words, which are the likest to it that there are, with their bias, corrected for how
frequent the word is taken to be. docs/new-words.md has what other starts cost.
"""

from dataclasses import replace

import numpy as np

from model.network import NetworkShape
from protocol.weights import Weights, check_weights
from tokenizer.vocabulary import Vocabulary

RARE_SHARE = 0.1
"""Of the old words, those of least share, that new words begin as the mean of."""


def grown_shape(shape: NetworkShape, vocabulary: Vocabulary) -> NetworkShape:
    """The shape for a vocabulary that grew; a task with it is a new one, as its plan's tensors are larger.

    Raises:
      ValueError: the vocabulary is smaller than the shape's.

    """
    if len(vocabulary) < shape.vocabulary_size:
        raise ValueError(f"vocabulary must have at least {shape.vocabulary_size} ids, got {len(vocabulary)}")
    return replace(shape, vocabulary_size=len(vocabulary))


def grow_weights(weights: Weights, shape: NetworkShape, vocabulary: Vocabulary) -> Weights:
    """Gives each appended word of `vocabulary` a row of the embedding and a bias.

    Args:
      weights: by name, of `shape`; not changed.
      shape: of the network before.
      vocabulary: that of the network, grown by `tokenizer.growing.grow_vocabulary`.

    Returns:
      Weights of `grown_shape(shape, vocabulary)`; tensors that do not grow are shared, not copied.

    Guarantees:
      Rows and biases of old ids are the same to the last bit. So in every context the logits of old words stay, and
      their probabilities shrink by one common factor, 1 less what the new words take.

    Raises:
      ValueError: the vocabulary is smaller than the network's, or has no words among its old ids.
      WrongContent: weights that are not of `shape`.

    """
    check_weights(weights, shape.tensors)
    size = shape.vocabulary_size
    num_new = grown_shape(shape, vocabulary).vocabulary_size - size
    log_shares = np.array(vocabulary.log_probabilities)
    rare = _rarest(vocabulary, log_shares, size)
    row = weights["embedding"][rare].mean(axis=0, dtype=np.float64)
    bias = weights["output_bias"][rare].mean(dtype=np.float64) + log_shares[size:] - log_shares[rare].mean()
    return {
        **weights,
        "embedding": np.vstack([weights["embedding"], np.tile(row, (num_new, 1))]).astype(np.float32),
        "output_bias": np.concatenate([weights["output_bias"], bias]).astype(np.float32),
    }


def _rarest(vocabulary: Vocabulary, log_shares: np.ndarray[tuple[int], np.dtype[np.float64]], size: int) -> list[int]:
    """The ids below `size` of the words of least share, a tenth of all, at least one."""
    words = sorted((index for index in vocabulary.target_ids if index < size), key=lambda index: log_shares[index])
    if not words:
        raise ValueError("a vocabulary must have words that a new one can begin as, got none")
    return words[: max(1, round(RARE_SHARE * len(words)))]
