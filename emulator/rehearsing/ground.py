"""What a scenario begins from: people with their texts, words, weights, and a way to measure recall."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emulator.made_up import MADE_UP, made_up_messages
from emulator.scenarios.schema import Population, Scenario
from evaluation.corpus import Message, load_corpus
from evaluation.metrics import evaluate, pool
from evaluation.predictors import NetworkPredictor
from evaluation.rehearsal.ground import Ground, lay_ground
from evaluation.rehearsal.people import gather_people
from evaluation.rehearsal.settings import RehearsalSettings, full_size, small_size
from evaluation.targets import SuggestionIndex, TypedMessage, type_messages
from evaluation.workers import Workers
from protocol.weights import Weights
from tokenizer.casing import Casing, learn_casing

_SIZES = {"small": small_size, "full": full_size}


class NoPeople(Exception):
    """A corpus that has nobody for one of the roles."""


@dataclass(frozen=True, kw_only=True)
class PopulationGround:
    """One population's.

    Attributes:
      population: as the scenario says.
      ground: people, vocabulary, first weights, training graph.
      casing: usual spellings, of the donors.

    """

    population: Population
    ground: Ground = field(repr=False)
    casing: Casing = field(repr=False)

    @property
    def texts(self) -> Sequence[Sequence[str]]:
        """What each of the people types who have devices, in an order that no seed changes."""
        return [texts for _, texts in sorted(self.ground.people.training.items())]


class Yardstick:
    """Recall on people who never trained."""

    def __init__(self, grounds: PopulationGround):
        """Takes the newest messages of those who are held out."""
        ground = grounds.ground
        newest = ground.settings.curve_messages
        self._index = SuggestionIndex(ground.vocabulary)
        self._typed: dict[str, list[TypedMessage]] = {
            user: type_messages(texts[-newest:], ground.vocabulary) for user, texts in ground.people.held_out.items()
        }

    def top1(self, weights: Weights) -> tuple[float, int]:
        """The share of words foreseen first, and of how many."""
        found = pool(evaluate(NetworkPredictor(weights), self._typed, self._index).values())
        return found.top1, found.num_targets


def lay_grounds(scenario: Scenario, folder: Path) -> list[PopulationGround]:
    """Gathers people and makes words and first weights for each population; keeps the weights in `folder`.

    In a process of its own: TensorFlow trains the same weights twice only if all of a process promises to.

    Raises:
      NoPeople: a corpus is too small for its roles.
      CorpusError: it cannot be read.

    """
    with Workers(1) as worker:
        return [worker.submit(_lay, scenario, each, folder).result() for each in scenario.populations]


def _lay(scenario: Scenario, population: Population, folder: Path) -> PopulationGround:
    import tensorflow as tf

    tf.keras.utils.set_random_seed(scenario.seed)
    tf.config.experimental.enable_op_determinism()
    settings = _settings(scenario, population)
    people = gather_people(_messages(population, scenario.seed), settings)
    for role, of_role in (("held out", people.held_out), ("given devices", people.training), ("donors", people.donors)):
        if not of_role:
            raise NoPeople(f"corpus {population.corpus} must have a person to be {role}, got none")
    ground = lay_ground(settings, people, folder, lambda: None)
    return PopulationGround(population=population, ground=ground, casing=learn_casing(people.donors))


def _settings(scenario: Scenario, population: Population) -> RehearsalSettings:
    return _SIZES[scenario.model.size](
        seed=scenario.seed,
        pretraining_epochs=scenario.model.pretraining_epochs,
        donor_share=population.donor_share,
        held_out_share=population.held_out_share,
    )


def _messages(population: Population, seed: int) -> list[Message]:
    if population.corpus.startswith(MADE_UP):
        return made_up_messages(population.corpus.removeprefix(MADE_UP), seed)
    return load_corpus(population.corpus)
