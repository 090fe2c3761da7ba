"""What the demo measures: each predictor on people who never trained, and on later messages of those who did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emulator.demo.people import People
from emulator.demo.public_model import PublicWords
from emulator.demo.settings import DemoSettings
from emulator.demo.stages import Advance
from evaluation.metrics import Accuracy, evaluate, pool
from evaluation.predictors import NetworkPredictor, Predictor, UnigramPredictor
from evaluation.report_schema import AccuracySection, ByPredictor
from evaluation.targets import SuggestionIndex, TypedMessage, type_messages
from protocol.weights import Weights

Typed = dict[str, list[TypedMessage]]
NUM_MEASUREMENTS = 8
"""Beside one for each round: three predictors on two groups, two of them again on the curve's set."""


@dataclass(frozen=True)
class Curve:
    """All predictors on the smaller set behind the curve of recall by round: its points must share one set."""

    unigram: Accuracy
    pretrained: Accuracy
    rounds: list[Accuracy]


@dataclass(frozen=True)
class Measuring:
    """The test sets, as ids."""

    words: PublicWords
    index: SuggestionIndex
    held_out: Typed
    devices: Typed
    curve_set: Typed

    @classmethod
    def of(cls, people: People, words: PublicWords, settings: DemoSettings) -> "Measuring":
        """Takes the newest messages of each person, as many as `settings` says."""

        def typed(texts: Mapping[str, Sequence[str]], newest: int) -> Typed:
            return {user: type_messages(each[-newest:], words.vocabulary) for user, each in texts.items()}

        return cls(
            words,
            SuggestionIndex(words.vocabulary),
            typed(people.held_out, settings.test_messages_per_held_out),
            typed(people.device_tests, settings.test_messages_per_device),
            typed(people.held_out, settings.curve_messages),
        )

    def accuracies(self, pretrained: Weights, federated: Weights, advance: Advance) -> AccuracySection:
        """Measures all predictors on both groups."""
        return AccuracySection(
            held_out=self._by_predictor(self.held_out, pretrained, federated, advance),
            devices=self._by_predictor(self.devices, pretrained, federated, advance),
        )

    def curve(self, pretrained: Weights, by_round: Sequence[Weights], advance: Advance) -> Curve:
        """Measures the checkpoints of all rounds, and what there was before them."""

        def measured(predictor: Predictor) -> Accuracy:
            advance("")
            return self._accuracy(predictor, self.curve_set)

        return Curve(
            unigram=measured(self._unigram),
            pretrained=measured(NetworkPredictor(pretrained)),
            rounds=[measured(NetworkPredictor(weights)) for weights in by_round],
        )

    @property
    def _unigram(self) -> Predictor:
        return UnigramPredictor(self.words.vocabulary, self.words.counts)

    def _by_predictor(self, typed: Typed, pretrained: Weights, federated: Weights, advance: Advance) -> ByPredictor:
        predictors: dict[str, Predictor] = {
            "unigram": self._unigram,
            "pretrained": NetworkPredictor(pretrained),
            "federated": NetworkPredictor(federated),
        }
        measured = {}
        for name, predictor in predictors.items():
            measured[name] = self._accuracy(predictor, typed)
            advance("")
        return ByPredictor(**measured)

    def _accuracy(self, predictor: Predictor, typed: Typed) -> Accuracy:
        return pool(evaluate(predictor, typed, self.index).values())
