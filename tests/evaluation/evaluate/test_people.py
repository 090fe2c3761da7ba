from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.corpus import Message
from evaluation.evaluate.people import Person, cut, first_words, gather
from evaluation.evaluate.settings import EvaluationSettings

SETTINGS = EvaluationSettings(held_out_share=0.4)


def test_nobody_is_asked_for_what_was_trained_on(messages: list[Message]) -> None:
    held_out, trained = gather(messages, SETTINGS).populations
    names = {person.name for person in held_out.people}, {person.name for person in trained.people}
    assert names[0]
    assert names[1]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 30
    sent = {name: [message for message in messages if message.user == name] for name in names[0] | names[1]}
    for person in held_out.people:
        assert (list(person.earlier), len(person.later)) == ([], len(sent[person.name]))
    for person in trained.people:
        assert [*person.earlier, *person.later] == sent[person.name]
        assert max(each.sent_at for each in person.earlier) < min(each.sent_at for each in person.later)


def test_training_text_is_what_people_who_trained_typed_before(messages: list[Message]) -> None:
    gathered = gather(messages, SETTINGS)
    (_, trained) = gathered.populations
    assert sorted(gathered.training) == sorted(each.text for person in trained.people for each in person.earlier)


def test_limits_leave_the_training_text_and_the_order_as_they_are(messages: list[Message]) -> None:
    whole = gather(messages, SETTINGS)
    few = gather(messages, replace(SETTINGS, max_users=3))
    worded = gather(messages, replace(SETTINGS, max_words=200))
    assert few.training == worded.training == whole.training
    for all_of_them, three, some in zip(whole.populations, few.populations, worded.populations, strict=True):
        assert three.people == all_of_them.people[:3]
        assert some.people == all_of_them.people[: len(some.people)]
        assert sum(person.words for person in some.people[:-1]) < 200


def test_who_joins_moves_nobody(messages: list[Message]) -> None:
    fewer = [message for message in messages if message.user != "user 7"]
    for whole, without in zip(gather(messages, SETTINGS).populations, gather(fewer, SETTINGS).populations, strict=True):
        assert [person for person in whole.people if person.name != "user 7"] == list(without.people)


def test_words_and_groups_are_known(messages: list[Message]) -> None:
    for population in gather(messages, SETTINGS).populations:
        for person in population.people:
            marks = sum(message.text.count(mark) for message in person.later for mark in "!?")
            spaced = sum(len(message.text.replace("?", " ?").split()) for message in person.later)
            assert person.words == spaced - marks
            assert person.group == f"group {int(person.name.split()[1]) % 2}"


def test_a_population_of_nobody_is_left_out_and_a_corpus_of_nobody_refused() -> None:
    alone = [Message("a", float(minute), f"hello {'x' * minute}a") for minute in range(20)]
    assert len(gather(alone, SETTINGS).populations) == 1
    with pytest.raises(ValueError, match="at least 20 messages, got none"):
        gather(alone[1:], SETTINGS)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 25))
def test_parts_are_whole_people_in_order(words: list[int], least: int) -> None:
    people = [Person(str(number), "", (), (), count) for number, count in enumerate(words)]
    parts = cut(people, least)
    assert [person for part in parts for person in part] == people
    assert all(sum(person.words for person in part) >= least for part in parts[:-1])
    assert all(sum(person.words for person in part[:-1]) < least for part in parts)
    assert first_words(people, least) == (parts[0] if parts else [])
