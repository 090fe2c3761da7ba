"""What an experiment is judged by: the later messages of the people who train. Nobody held out is asked here.

Settings that are chosen by people who are held out would be too good for them; those are left to `keychorus evaluate`.
"""

from collections.abc import Mapping, Sequence

from evaluation.metrics import Accuracy, evaluate, pool
from evaluation.predictors import NetworkPredictor
from evaluation.targets import SuggestionIndex, type_messages
from protocol.weights import Weights
from tokenizer.vocabulary import Vocabulary

CURVE_MESSAGES = 3
"""Of each person, the newest that are asked while training goes on."""


class Measuring:
    """Later messages, as ids."""

    def __init__(self, later: Mapping[str, Sequence[str]], vocabulary: Vocabulary):
        """Encodes `later`."""
        self._index = SuggestionIndex(vocabulary)
        self._typed = {user: type_messages(texts, vocabulary) for user, texts in later.items()}
        self._curve = {user: messages[-CURVE_MESSAGES:] for user, messages in self._typed.items()}

    def accuracy(self, weights: Weights) -> Accuracy:
        """On all later messages."""
        return pool(evaluate(NetworkPredictor(weights), self._typed, self._index).values())

    def curve_top1(self, weights: Weights) -> float:
        """Top-1 recall on a few of each person, quickly."""
        return pool(evaluate(NetworkPredictor(weights), self._curve, self._index).values()).top1
