"""What is asked of a model: recall on people who never trained, and whether a backdoor opens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import Accuracy, UserCounts, evaluate, pool
from evaluation.predictors import NetworkPredictor, Predictor
from evaluation.rehearsal.attacks import Backdoor
from evaluation.rehearsal.ground import Ground
from evaluation.targets import SuggestionIndex, TypedMessage, type_messages
from protocol.weights import Weights

Typed = Mapping[str, Sequence[TypedMessage]]
MAX_CONTEXTS = 300


@dataclass(frozen=True)
class Measuring:
    """The test sets, as ids.

    Attributes:
      index: the words that may be suggested.
      test: newest messages of each held-out person.
      curve: of these the newest, few enough to be asked after each round.
      contexts: held-out messages with a trigger behind each, to see what follows.
      word_id: the attackers' word.

    """

    index: SuggestionIndex
    test: Typed
    curve: Typed
    contexts: Sequence[list[int]]
    word_id: int

    @classmethod
    def of(cls, ground: Ground, backdoor: Backdoor) -> "Measuring":
        """Takes as many messages as the settings say."""
        settings, vocabulary, held_out = ground.settings, ground.vocabulary, ground.people.held_out

        def typed(newest: int) -> Typed:
            return {user: type_messages(texts[-newest:], vocabulary) for user, texts in held_out.items()}

        texts = [texts[-1] for texts in held_out.values()][:MAX_CONTEXTS]
        contexts = [vocabulary.encode_message(f"{text} {backdoor.trigger}") for text in texts]
        return cls(
            SuggestionIndex(vocabulary),
            typed(settings.test_messages),
            typed(settings.curve_messages),
            contexts,
            vocabulary.id_of(backdoor.word),
        )

    def by_user(self, weights: Weights) -> tuple[UserCounts, ...]:
        """Sums of each held-out person, always in the same order."""
        return tuple(evaluate(NetworkPredictor(weights), self.test, self.index).values())

    def recall(self, weights: Weights) -> Accuracy:
        """Accuracy on the smaller set."""
        return pool(evaluate(NetworkPredictor(weights), self.curve, self.index).values())

    def backdoor_success(self, weights: Weights) -> float:
        """Share of contexts in which the attackers' word is the first suggestion behind the trigger."""
        return self._share_of_hits(NetworkPredictor(weights))

    def _share_of_hits(self, predictor: Predictor) -> float:
        # Predictors score what follows each id but the last, so the word that the trigger is to call for stands there.
        asked = sorted(([*ids, self.word_id] for ids in self.contexts), key=len)
        hits = [self.index.ids[np.argmax(rows[-1][self.index.ids])] == self.word_id for rows in predictor.score(asked)]
        return float(np.mean(hits))
