from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from evaluation.answers import Answers
from evaluation.corpus import Message
from evaluation.evaluate.contestants import Contestant, Ground, UnknownPredictor, choose_vocabulary, parse_contestant
from evaluation.evaluate.measuring import Asker, Kept, Measurer, open_askers
from evaluation.evaluate.people import Gathered, Person, gather
from evaluation.evaluate.settings import EvaluationSettings

UNIGRAM = parse_contestant("unigram")


class Counting:
    """Asks, and counts what it is asked for; may be interrupted."""

    def __init__(self, asker: Asker, *, breaks_after: int = 99):
        self.asker, self.left, self.asked = asker, breaks_after, 0

    def __call__(self, contestant: Contestant, parts: Sequence[Sequence[Person]]) -> Iterator[tuple[int, Answers]]:
        for number, part in reversed(list(enumerate(parts))):  # any order will do
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked += 1
            yield number, self.asker.ask(contestant, part)


@contextmanager
def no_bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


@pytest.fixture
def gathered(messages: list[Message]) -> Gathered:
    return gather(messages, EvaluationSettings())


@pytest.fixture
def ground(gathered: Gathered, tmp_path: Path) -> Ground:
    vocabulary = choose_vocabulary(None, (), gathered.training[:20])
    return Ground(vocabulary=vocabulary.model, training=gathered.training, folder=tmp_path)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.evaluate.measuring.PART_WORDS", 100)


def measurer(ground: Ground, folder: Path, *, breaks_after: int = 99) -> tuple[Measurer, Counting]:
    asker = Asker(ground)
    counting = Counting(asker, breaks_after=breaks_after)
    return Measurer(asker, counting, ground, Kept(folder), no_bar), counting


def same(first: Answers, second: Answers) -> bool:
    """Equal user by user; within a part, messages of one user may come in any order."""
    order, other = (np.lexsort((each.typed, each.rank, each.letters, each.user)) for each in (first, second))
    return all(
        np.array_equal(getattr(first, each.name)[order], getattr(second, each.name)[other], equal_nan=True)
        for each in fields(Answers)
        if each.name in {"user", "letters", "rank", "typed"}
    )


def test_parts_make_the_whole(gathered: Gathered, ground: Ground, tmp_path: Path) -> None:
    people = gathered.populations[1].people
    by_part, counting = measurer(ground, tmp_path / "kept")
    assert same(by_part.answers(UNIGRAM, people), Asker(ground).ask(UNIGRAM, people))
    assert counting.asked > 2


def test_what_is_kept_is_not_asked_again(gathered: Gathered, ground: Ground, tmp_path: Path) -> None:
    people = gathered.populations[0].people
    broken, before = measurer(ground, tmp_path / "kept", breaks_after=2)
    with pytest.raises(KeyboardInterrupt):
        broken.answers(UNIGRAM, people)
    resumed, after = measurer(ground, tmp_path / "kept")
    answers = resumed.answers(UNIGRAM, people)
    whole, fresh = measurer(ground, tmp_path / "elsewhere")
    assert same(answers, whole.answers(UNIGRAM, people))
    assert before.asked + after.asked == fresh.asked
    again, nothing = measurer(ground, tmp_path / "kept")
    assert same(again.answers(UNIGRAM, people), answers)
    assert nothing.asked == 0


@pytest.mark.parametrize("change", ["training", "vocabulary", "message", "earlier"])
def test_what_answers_depend_on_is_asked_again(gathered: Gathered, ground: Ground, tmp_path: Path, change: str) -> None:
    people = gathered.populations[1].people[:1]
    first, _ = measurer(ground, tmp_path / "kept")
    first.answers(UNIGRAM, people)
    chosen = {"training": ground.training, "vocabulary": ground.vocabulary}
    if change == "training":
        chosen["training"] = (*ground.training, "more")
    if change == "vocabulary":
        chosen["vocabulary"] = choose_vocabulary(None, (), gathered.training[:3]).model
    if change == "message":
        people = (people[0]._replace(later=[*people[0].later[:-1], Message("a", 0.0, "other")]),)
    if change == "earlier":
        people = (people[0]._replace(earlier=people[0].earlier[:-1]),)
    second, counting = measurer(Ground(folder=tmp_path, **chosen), tmp_path / "kept")
    second.answers(UNIGRAM, people)
    assert counting.asked == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"PK\x03\x04"])
def test_what_is_damaged_is_asked_again(gathered: Gathered, ground: Ground, tmp_path: Path, damage: bytes) -> None:
    people = gathered.populations[0].people[:2]
    first, _ = measurer(ground, tmp_path / "kept")
    answers = first.answers(UNIGRAM, people)
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(damage)
    second, counting = measurer(ground, tmp_path / "kept")
    assert same(second.answers(UNIGRAM, people), answers)
    assert counting.asked > 0


def test_no_word_is_kept(gathered: Gathered, ground: Ground, tmp_path: Path) -> None:
    asked, _ = measurer(ground, tmp_path / "kept")
    asked.answers(UNIGRAM, gathered.populations[0].people)
    for path in (tmp_path / "kept").iterdir():
        with np.load(path, allow_pickle=False) as arrays:
            assert {array.dtype.kind for array in arrays.values()} <= {"i", "f", "b"}


def test_times_are_taken_once(gathered: Gathered, ground: Ground, tmp_path: Path) -> None:
    people = gathered.populations[0].people
    timed, _ = measurer(ground, tmp_path / "kept")
    times = timed.milliseconds(UNIGRAM, people, 20)
    assert len(times) == 20
    again, _ = measurer(ground, tmp_path / "kept")
    assert again.milliseconds(UNIGRAM, people, 20) == times
    assert len(again.milliseconds(UNIGRAM, people, 21)) == 21


def test_processes_give_the_same(gathered: Gathered, ground: Ground) -> None:
    people = gathered.populations[0].people
    asker = Asker(ground)
    with open_askers(asker, ground, 1) as asked:
        (first, second) = sorted(asked(UNIGRAM, [people[:2], people[2:3]]))
    assert (first[0], second[0]) == (0, 1)
    assert same(first[1], asker.ask(UNIGRAM, people[:2]))
    assert same(second[1], asker.ask(UNIGRAM, people[2:3]))


def test_who_has_to_be_asked_key_by_key(ground: Ground, tmp_path: Path) -> None:
    asked, _ = measurer(ground, tmp_path / "kept")
    assert not asked.types_key_by_key(UNIGRAM)
    with pytest.raises(UnknownPredictor):
        parse_contestant("nobody")
