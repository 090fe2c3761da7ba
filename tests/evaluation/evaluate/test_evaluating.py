from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation.answers import MISSED, Answers
from evaluation.corpus import Message
from evaluation.evaluate.contestants import AbsentPredictor, Contestant, Kind, UnknownPredictor
from evaluation.evaluate.evaluating import Race, Text, checkpoints_of, evaluate
from evaluation.evaluate.outcome import Evaluation, PopulationFound
from evaluation.evaluate.people import Person, Population, gather
from evaluation.evaluate.settings import EvaluationSettings

TEXT = Text(corpora=("a.jsonl",), training_corpora=(), training_messages=9, vocabulary_size=40)


def contestant(name: str, kind: Kind = Kind.WEIGHTS) -> Contestant:
    return Contestant(name=name, kind=kind, source=name)


class Scripted:
    """A measurer whose contestants hit a share of each person's words, as their names say."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def types_key_by_key(self, each: Contestant) -> bool:
        if each.name.startswith("absent"):
            raise AbsentPredictor(f"{each.name} is not installed")
        return each.kind is Kind.PERSONALISED or each.name.startswith("typed")

    def milliseconds(self, each: Contestant, people: Sequence[Person], keystrokes: int) -> list[float]:
        assert each.kind is not Kind.PERSONALISED or people[0].earlier
        return [1.0] * keystrokes

    def answers(self, each: Contestant, people: Sequence[Person]) -> Answers:
        self.asked.append((each.name, len(people)))
        return Answers.join(self._of_one(each, user, person.words) for user, person in enumerate(people))

    def _of_one(self, each: Contestant, user: int, words: int) -> Answers:
        hits = round(words * float(each.name.rpartition(" ")[2]) / 100)
        count, scores = np.full(words, 4), not self.types_key_by_key(each)
        return Answers(
            user=np.full(words, user),
            message_words=count,
            letters=count,
            known=np.ones(words, np.bool_),
            rank=np.where(np.arange(words) < hits, 0, MISSED),
            typed=np.where(np.arange(words) < hits, 0, 4),
            log_likelihood=np.full(words, -1.0 if scores else np.nan),
            confidence=np.full(words, 0.5 if scores else np.nan),
        )


@pytest.fixture
def populations(messages: list[Message]) -> tuple[Population, ...]:
    return gather(messages, EvaluationSettings(held_out_share=0.4)).populations


def run(race: Race, populations: Sequence[Population], **choices: int) -> tuple[Evaluation, Scripted]:
    scripted = Scripted()
    settings = EvaluationSettings(**{"suggester_words": 150, "draws": 50, **choices})
    return evaluate(race, populations, TEXT, settings, scripted), scripted  # type: ignore[arg-type]


def names(found: PopulationFound) -> Iterator[str]:
    return (each.predictor for each in found.predictors)


def test_each_is_held_against_the_reference(populations: tuple[Population, ...]) -> None:
    race = Race(contestants=[contestant("a 20"), contestant("b 60"), contestant("c 40")], reference="c 40")
    found, _ = run(race, populations)
    for population in found.populations:
        assert list(names(population)) == ["a 20", "b 60", "c 40"]
        assert [(each.predictor, each.reference) for each in population.comparisons] == [
            ("a 20", "c 40"), ("b 60", "c 40")
        ]  # fmt: skip
        worse, better = population.comparisons
        assert worse.differences["top1"].high < 0 < better.differences["top1"].low
        assert (worse.worse_for["top1"], better.better_for["top1"]) == (1.0, 1.0)
        assert better.ratios["top1"].value == pytest.approx(1.5, rel=0.02)
    assert set(found.latency) == {"a 20", "b 60", "c 40"}
    assert found.reference == "c 40"
    assert "seed" not in found.settings


def test_who_types_key_by_key_is_asked_for_a_sample_and_compared_on_it(populations: tuple[Population, ...]) -> None:
    race = Race(contestants=[contestant("whole 20"), contestant("typed 40", Kind.BASELINE)], reference="whole 20")
    found, scripted = run(race, populations)
    for population in found.populations:
        whole, typed = population.predictors
        assert (whole.sample, typed.sample) == (False, True)
        assert whole.users == population.users > typed.users
        assert population.comparisons[0].users == typed.users
        assert population.comparisons[0].words == typed.words
    assert ("typed 40", found.populations[0].predictors[1].users) in scripted.asked


def test_a_personal_one_is_asked_where_people_are_known(populations: tuple[Population, ...]) -> None:
    race = Race(contestants=[contestant("a 20"), contestant("mine 30", Kind.PERSONALISED)], reference="a 20")
    found, _ = run(race, populations)
    held_out, trained = found.populations
    assert list(names(held_out)) == ["a 20"]
    assert list(names(trained)) == ["a 20", "mine 30"]
    race = Race(contestants=race.contestants, reference="mine 30")
    alone, _ = run(race, populations[:1])
    assert alone.populations[0].comparisons == ()
    assert list(alone.latency) == ["a 20"]


def test_what_is_not_installed_is_left_out_and_named(populations: tuple[Population, ...]) -> None:
    race = Race(contestants=[contestant("absent 1"), contestant("a 20"), contestant("b 30")], reference="absent 1")
    found, _ = run(race, populations)
    assert found.absent == ("absent 1 is not installed",)
    assert found.reference == "a 20"
    assert all(list(names(population)) == ["a 20", "b 30"] for population in found.populations)
    assert set(found.latency) == {"a 20", "b 30"}
    with pytest.raises(AbsentPredictor, match="absent 1 is not installed"):
        run(Race(contestants=[contestant("absent 1")], reference="absent 1"), populations)


def test_checkpoints_are_measured_in_their_order(populations: tuple[Population, ...]) -> None:
    race = Race(
        contestants=[contestant("a 20")],
        reference="a 20",
        rounds=[(number, contestant(f"round {20 + 10 * number}")) for number in (1, 2, 3)],
    )
    found, _ = run(race, populations)
    assert [each.number for each in found.rounds] == [1, 2, 3]
    assert [each.top1.value for each in found.rounds] == pytest.approx([0.3, 0.4, 0.5], abs=0.01)


def test_checkpoints_are_found_by_number(tmp_path: Path) -> None:
    for name in ("weights-0010.safetensors", "weights-0002.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [(number, each.name) for number, each in checkpoints_of(tmp_path)] == [(2, "round 2"), (10, "round 10")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownPredictor, match="must hold checkpoints"):
        checkpoints_of(tmp_path / "empty")


def test_names_are_distinct_and_the_reference_is_one_of_them() -> None:
    with pytest.raises(ValueError, match="distinct names, got a twice"):
        Race(contestants=[contestant("a"), contestant("a")], reference="a")
    with pytest.raises(ValueError, match="reference must be one of a, b, got c"):
        Race(contestants=[contestant("a"), contestant("b")], reference="c")
