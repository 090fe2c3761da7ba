"""The shared model and a person's cache as one distribution over the vocabulary and the person's own words."""

import numpy as np
import numpy.typing as npt

from device_runtime.suggestions.next_word import DoubleArray, NextWordModel, Outlook
from device_runtime.suggestions.personal.cache import BACK_OFF, Context, PersonalCache
from device_runtime.suggestions.personal.output_layer import OutputLayer
from tokenizer.prefix_index import PrefixIndex
from tokenizer.vocabulary import NUM_SPECIAL, UNKNOWN_ID


class Blend:
    """p(w) = (1 - weight) p_model(w) + weight p_cache(w), as it stands after the messages learnt so far.

    p_model is the shared model's, by fine-tuned weights of its output layer where these help.

    Rows below the vocabulary's size are the vocabulary's ids; those above are the person's own words outside it.
    """

    def __init__(self, model: NextWordModel, cache: PersonalCache, weight: float, layer: OutputLayer | None = None):
        """Takes a cache as it is now: after it has learnt more, make another.

        Args:
          model: the shared one.
          cache: the person's.
          weight: of the cache, in [0, 1].
          layer: corrects the shared model's logits; None for none.

        Raises:
          ValueError: `weight` is out of its bound.

        """
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be in [0, 1], got {weight}")
        self.model = model
        self._vocabulary = model.vocabulary
        self.weight = weight
        self._cache = cache
        self._layer = layer
        self._own = sorted(word for word in cache.own_words() if self._vocabulary.id_of(word) == UNKNOWN_ID)
        self._own_rows = {word: len(self._vocabulary) + place for place, word in enumerate(self._own)}
        self._prefixes = PrefixIndex(self._own, range(len(self._own)))
        self._alone = np.zeros(len(self._vocabulary) + len(self._own))
        if total := cache.total(()):
            rows, counts = self._known(())
            self._alone[rows] = counts / total

    def word(self, row: int) -> str:
        """The normal form of a row's word."""
        size = len(self._vocabulary)
        return self._vocabulary.words[row] if row < size else self._own[row - size]

    def spelling(self, word: str) -> str:
        """One of the person's own words with its usual capitals."""
        return self._cache.spelling(word)

    def starting_with(self, prefix: str) -> npt.NDArray[np.int64]:
        """The rows of the person's own words that begin with `prefix`."""
        return self._prefixes.starting_with(prefix) + len(self._vocabulary)

    def probabilities(self, outlook: Outlook, context: Context) -> DoubleArray:
        """Mixes the two.

        Args:
          outlook: what the shared model foresees.
          context: of the next word.

        Returns:
          float64 [vocabulary + own words]. It sums to at most 1: what the cache gives to words seen once is left out.

        """
        cached = self._alone.copy()
        for longer in (context[-order:] for order in range(1, len(context) + 1)):
            if total := self._cache.total(longer):
                rows, counts = self._known(longer)
                cached *= BACK_OFF / (total + BACK_OFF)
                cached[rows] += counts / (total + BACK_OFF)
        cached *= self.weight
        cached[: len(self._vocabulary)] += (1 - self.weight) * tuned_probabilities(self.model, self._layer, outlook)
        return cached

    def _known(self, context: Context) -> tuple[npt.NDArray[np.int64], DoubleArray]:
        """Rows and decayed counts of the words after `context` that can be suggested."""
        counted = self._cache.counts(context)
        rows = np.fromiter((self._row(word) for word in counted), np.int64, len(counted))
        counts = np.fromiter(counted.values(), np.float64, len(counted))
        return rows[rows >= NUM_SPECIAL], counts[rows >= NUM_SPECIAL]

    def _row(self, word: str) -> int:
        return self._vocabulary.id_of(word) or self._own_rows.get(word, UNKNOWN_ID)


def tuned_probabilities(model: NextWordModel, layer: OutputLayer | None, outlook: Outlook) -> DoubleArray:
    """The shared model's probabilities, by the fine-tuned output layer if there is one: float64 [vocabulary]."""
    projected = model.projected(outlook.state)
    if layer is None or projected is None:
        return model.probabilities(outlook.logits)
    return model.probabilities(layer.adjust(outlook.logits, projected))
