"""Vocabularies of public word counts, which need nobody's text."""

import wordfreq

from tokenizer.training import blend_counts, train_vocabulary
from tokenizer.vocabulary import Vocabulary


def public_vocabulary(language: str, size: int) -> Vocabulary:
    """Makes a vocabulary of `size` ids from the public word counts (wordfreq) of a language, such as "en".

    Raises:
      LookupError: wordfreq does not have the language.
      ValueError: it has too few words for `size`.

    """
    shares = blend_counts(wordfreq.get_frequency_dict(language), {}, public_weight=1.0)
    return Vocabulary(train_vocabulary(shares, size))
