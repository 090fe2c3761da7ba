"""Whoever scores and whoever types key by key must be counted alike."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from evaluation.answers import MISSED
from evaluation.corpus import Message
from evaluation.evaluate.asking import WARM_UP, _BestOfScores, ask, time_keystrokes
from evaluation.evaluate.contestants import choose_vocabulary
from evaluation.evaluate.people import gather
from evaluation.evaluate.settings import EvaluationSettings
from evaluation.predictors import Suggester, UnigramPredictor
from evaluation.targets import SuggestionIndex
from tokenizer.training import count_words
from tokenizer.vocabulary import Vocabulary

SETTINGS = EvaluationSettings(max_users=4)


class Recorder:
    """Suggests one word, and keeps a diary."""

    def __init__(self, word: str, diary: list[str]):
        self.word, self.diary = word, diary

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        self.diary.append("asked")
        return [self.word] if self.word.startswith(prefix) else []

    def learn(self, message: str) -> None:
        self.diary.append("learned")


class Met:
    """Suggests to each person the first word that it knows of them."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    @contextmanager
    def meet(self, earlier: Sequence[Message]) -> Iterator[Suggester]:
        self.diary.append("met")
        yield Recorder(earlier[0].text.split()[0], self.diary)
        self.diary.append("left")


@pytest.fixture
def vocabulary(messages: list[Message]) -> Vocabulary:
    """Of a few messages' words, so that some words are unknown."""
    return choose_vocabulary(None, (), [message.text for message in messages[:4]])


def test_scores_and_keys_give_the_same_counts(messages: list[Message], vocabulary: Vocabulary) -> None:
    """A word list asked for all words at once, and the same one typed with: an oracle for each other."""
    (held_out, _) = gather(messages, SETTINGS).populations
    index = SuggestionIndex(vocabulary)
    predictor = UnigramPredictor(vocabulary, count_words(message.text for message in messages))
    scored = ask(predictor, held_out.people, index, vocabulary)
    typed = ask(_BestOfScores(predictor, index, vocabulary), held_out.people, index, vocabulary)
    order = np.lexsort((scored.typed, scored.rank, scored.letters, scored.message_words, scored.user))
    rank = np.where(scored.rank < 3, scored.rank, MISSED)
    other = np.lexsort((typed.typed, typed.rank, typed.letters, typed.message_words, typed.user))
    assert 0 < typed.known.sum() < len(typed) == len(scored) == sum(person.words for person in held_out.people)
    for name in ("user", "letters", "message_words"):
        np.testing.assert_array_equal(getattr(scored, name)[order], getattr(typed, name)[other])
    for user in range(len(held_out.people)):
        mine, theirs = scored.user == user, typed.user == user
        assert sorted(rank[mine]) == sorted(typed.rank[theirs])
        assert sorted(scored.typed[mine]) == sorted(typed.typed[theirs])
        assert scored.known[mine].sum() == typed.known[theirs].sum()
    assert np.isnan(typed.confidence).all()
    assert np.isnan(typed.log_likelihood).all()
    assert not np.isnan(scored.confidence).any()


def test_a_personal_one_meets_each_person_and_learns_what_was_sent(
    messages: list[Message], vocabulary: Vocabulary
) -> None:
    (_, trained) = gather(messages, SETTINGS).populations
    met = Met()
    answers = ask(met, trained.people, SuggestionIndex(vocabulary), vocabulary)
    diary = [entry for entry in met.diary if entry != "asked"]
    assert diary == [entry for each in trained.people for entry in ["met", *["learned"] * len(each.later), "left"]]
    for user, person in enumerate(trained.people):
        known = person.earlier[0].text.split()[0]
        said = sum(word == known for message in person.later for word in message.text.replace("?", " ").split())
        assert (answers.rank[answers.user == user] == 0).sum() == said


def test_one_that_serves_all_people_is_taught_nothing(messages: list[Message], vocabulary: Vocabulary) -> None:
    (held_out, _) = gather(messages, SETTINGS).populations
    diary: list[str] = []
    ask(Recorder("the", diary), held_out.people, SuggestionIndex(vocabulary), vocabulary)
    assert set(diary) == {"asked"}


@pytest.mark.parametrize("personal", [True, False])
def test_keystrokes_are_timed_one_by_one(messages: list[Message], vocabulary: Vocabulary, personal: bool) -> None:
    (_, trained) = gather(messages, SETTINGS).populations
    answerer = Met() if personal else Recorder("the", [])
    times = time_keystrokes(answerer, trained.people, SuggestionIndex(vocabulary), vocabulary, 25)
    assert len(times) == 25
    assert answerer.diary.count("asked") == 25 + WARM_UP
    assert sum(times) > 0


def test_people_who_typed_little_are_timed_all_the_same(vocabulary: Vocabulary) -> None:
    (population,) = gather(
        [Message("a", float(minute), f"a{'b' * minute}") for minute in range(20)], EvaluationSettings(max_users=1)
    ).populations
    little = [population.people[0]._replace(later=[Message("a", 0.0, "hi")])]
    recorder = Recorder("the", [])
    assert len(time_keystrokes(recorder, little, SuggestionIndex(vocabulary), vocabulary, 500)) == 1


def test_a_predictor_shows_its_best_three_that_fit(vocabulary: Vocabulary) -> None:
    counts = {
        word: 100 - place for place, word in enumerate(sorted(vocabulary.words[i] for i in vocabulary.target_ids))
    }
    index = SuggestionIndex(vocabulary)
    suggester = _BestOfScores(UnigramPredictor(vocabulary, counts), index, vocabulary)
    ranked = sorted(counts, key=lambda word: -counts[word])
    assert suggester.suggest("", "") == ranked[:3]
    assert suggester.suggest("you ", "T") == [word for word in ranked if word.startswith("t")][:3]
    assert suggester.suggest("", "zzz") == []
