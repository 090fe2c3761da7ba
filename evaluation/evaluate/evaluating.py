"""An evaluation from its beginning to its end: every contestant on every population, beside one reference."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from evaluation.answers import Answers
from evaluation.evaluate.bootstrap import MEASURES, Bootstrap, sum_by_user
from evaluation.evaluate.contestants import AbsentPredictor, Contestant, Kind, UnknownPredictor
from evaluation.evaluate.measuring import Measurer
from evaluation.evaluate.outcome import Comparison, Evaluation, Latency, PopulationFound, RoundFound
from evaluation.evaluate.people import Person, Population, first_words
from evaluation.evaluate.settings import EvaluationSettings
from evaluation.evaluate.summing_up import compare, sum_up, sum_up_times, unknown_share
from evaluation.report import software_versions

_NUMBERED = re.compile(r"(\d+)\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a report says of the text.

    Attributes:
      corpora: names of what people typed.
      training_corpora: names of further public text.
      training_messages: that baselines train on, in all.
      vocabulary_size: ids.

    """

    corpora: tuple[str, ...]
    training_corpora: tuple[str, ...]
    training_messages: int
    vocabulary_size: int


@dataclass(frozen=True, kw_only=True)
class Race:
    """Contestants, and what they are held against.

    Attributes:
      contestants: of distinct names, at least one.
      reference: name of the one that the others are compared with.
      rounds: checkpoints of a training run, see `checkpoints_of`.

    Raises:
      ValueError: two names are the same, or no contestant is called as the reference.

    """

    contestants: Sequence[Contestant]
    reference: str
    rounds: Sequence[tuple[int, Contestant]] = ()

    def __post_init__(self) -> None:
        names = [contestant.name for contestant in self.contestants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"predictors must have distinct names, got {twice[0]} twice; NAME=SPEC gives one")
        if self.reference not in names:
            raise ValueError(f"reference must be one of {', '.join(names)}, got {self.reference}")


def checkpoints_of(folder: Path) -> list[tuple[int, Contestant]]:
    """The checkpoints of a training run by the number at the end of their names, such as `weights-0012.safetensors`.

    Raises:
      UnknownPredictor: there is none.

    """
    numbered = [(int(found[1]), path) for path in folder.iterdir() if (found := _NUMBERED.search(path.name))]
    if not numbered:
        raise UnknownPredictor(f"{folder} must hold checkpoints such as weights-0001.safetensors, got none")
    return [
        (number, Contestant(name=f"round {number}", kind=Kind.WEIGHTS, source=str(path)))
        for number, path in sorted(numbered)
    ]


def evaluate(
    race: Race, populations: Sequence[Population], text: Text, settings: EvaluationSettings, measurer: Measurer
) -> Evaluation:
    """Evaluates all contestants on all populations, and the checkpoints on the first population.

    Contestants that are not installed are left out; the evaluation says so. If the reference is one of them, the first
    that is here takes its place.

    Raises:
      AbsentPredictor: none is installed.
      UnknownPredictor: a contestant cannot be opened.
      InvalidScores: one gave no numbers.

    """
    choices = asdict(settings)
    race, absent = _here(race, measurer)
    return Evaluation(
        seed=choices.pop("seed"),
        corpora=text.corpora,
        training_corpora=text.training_corpora,
        training_messages=text.training_messages,
        vocabulary_size=text.vocabulary_size,
        reference=race.reference,
        absent=absent,
        settings=choices,
        populations=tuple(_evaluate_on(population, race, settings, measurer) for population in populations),
        latency=dict(_latencies(race, populations, settings, measurer)),
        rounds=tuple(_rounds(race, populations[0], settings, measurer)),
        software=software_versions(),
    )


def _here(race: Race, measurer: Measurer) -> tuple[Race, tuple[str, ...]]:
    """The race of those that are installed, and a sentence for each that is not."""
    present, absent = [], []
    for contestant in race.contestants:
        try:
            measurer.types_key_by_key(contestant)
            present.append(contestant)
        except AbsentPredictor as error:
            absent.append(str(error))
    if not present:
        raise AbsentPredictor(absent[0])
    names = [contestant.name for contestant in present]
    reference = race.reference if race.reference in names else names[0]
    return replace(race, contestants=present, reference=reference), tuple(absent)


class _Answered(NamedTuple):
    """A contestant, the people that it was asked for (the first few of a population), and its answers."""

    contestant: Contestant
    people: Sequence[Person]
    answers: Answers


def _evaluate_on(
    population: Population, race: Race, settings: EvaluationSettings, measurer: Measurer
) -> PopulationFound:
    @cache
    def bootstrap(users: int) -> Bootstrap:
        return Bootstrap(users, draws=settings.draws, seed=settings.seed)

    everybody = population.people
    found = list(_ask_all(race.contestants, everybody, settings, measurer))
    widest = max(found, key=lambda each: len(each.people), default=None)
    return PopulationFound(
        name=population.name,
        title=population.title,
        users=len(everybody),
        words=sum(person.words for person in everybody),
        unknown=widest and unknown_share(widest.answers, len(widest.people), bootstrap(len(widest.people))),
        predictors=tuple(
            sum_up(
                each.contestant.name,
                each.contestant.kind.value,
                each.answers,
                each.people,
                of_users=len(everybody),
                bootstrap=bootstrap(len(each.people)),
            )
            for each in found
        ),
        comparisons=tuple(_comparisons(found, race.reference, bootstrap)),
    )


def _ask_all(
    contestants: Sequence[Contestant], everybody: Sequence[Person], settings: EvaluationSettings, measurer: Measurer
) -> Iterator[_Answered]:
    """Asks each contestant that can serve these people; those that type key by key for a sample of them."""
    knows_nobody = not all(person.earlier for person in everybody)
    for contestant in contestants:
        if contestant.kind is Kind.PERSONALISED and knows_nobody:
            continue
        typed = measurer.types_key_by_key(contestant)
        people = first_words(everybody, settings.suggester_words) if typed else everybody
        yield _Answered(contestant, people, measurer.answers(contestant, people))


def _comparisons(
    found: Sequence[_Answered], reference: str, bootstrap: Callable[[int], Bootstrap]
) -> Iterator[Comparison]:
    named = {each.contestant.name: each for each in found}
    if reference in named:
        theirs = named.pop(reference)
        for name, ours in named.items():
            shared = min(len(ours.people), len(theirs.people))
            yield compare((name, ours.answers), (reference, theirs.answers), shared, bootstrap(shared))


def _latencies(
    race: Race, populations: Sequence[Population], settings: EvaluationSettings, measurer: Measurer
) -> Iterator[tuple[str, Latency]]:
    """Times all on the same people, whom a personal predictor can know, as far as there are such."""
    people = populations[-1].people
    for contestant in race.contestants:
        if contestant.kind is not Kind.PERSONALISED or people[0].earlier:
            yield contestant.name, sum_up_times(measurer.milliseconds(contestant, people, settings.keystrokes))


def _rounds(
    race: Race, population: Population, settings: EvaluationSettings, measurer: Measurer
) -> Iterator[RoundFound]:
    bootstrap = Bootstrap(len(population.people), draws=settings.draws, seed=settings.seed)
    for number, checkpoint in race.rounds:
        sums = sum_by_user(measurer.answers(checkpoint, population.people), len(population.people))
        top1, top3 = (bootstrap.interval(sums, MEASURES[name]) for name in ("top1", "top3"))
        if top1 is not None and top3 is not None:
            yield RoundFound(number=number, top1=top1, top3=top3)
