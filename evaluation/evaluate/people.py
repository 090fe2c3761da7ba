"""Who is asked: people who never trained, and people who did, with what they typed later."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evaluation.corpus import Message, clean
from evaluation.evaluate.settings import EvaluationSettings
from evaluation.split import position, split_by_time, split_senders
from tokenizer.text import tokenize

_NO_CAP = 2**62


class Person(NamedTuple):
    """One user.

    Attributes:
      name: the pseudonym.
      group: of users, empty where the corpus names none.
      earlier: messages that a personal predictor may know; empty for people who are held out.
      later: messages whose words are asked for, by time.
      words: of `later`, known or not.

    """

    name: str
    group: str
    earlier: Sequence[Message]
    later: Sequence[Message]
    words: int


class Population(NamedTuple):
    """People with something in common, in a seeded order: the first few are a sample of all."""

    name: str
    title: str
    people: tuple[Person, ...]


class Gathered(NamedTuple):
    """What an evaluation works on.

    Attributes:
      populations: those that are not empty.
      training: text of people who trained, up to where theirs is asked for.

    """

    populations: tuple[Population, ...]
    training: tuple[str, ...]


def gather(messages: Iterable[Message], settings: EvaluationSettings) -> Gathered:
    """Cleans a corpus and splits it: by user, and the users who train by time, the last fifth being asked for.

    Guarantees:
      Who is held out depends on name and seed alone. `max_users` and `max_words` leave the training text as it is.

    Raises:
      ValueError: nobody has enough messages.

    """
    kept = clean(messages, max_per_user=settings.max_messages or _NO_CAP, min_per_user=settings.min_messages).messages
    if not kept:
        raise ValueError(f"a corpus must have a user with at least {settings.min_messages} messages, got none")
    roles = split_senders(kept, seed=settings.seed, donor_share=0, held_out_share=settings.held_out_share)
    held_out = [_person(name, (), kept[name]) for name in roles.held_out]
    trained = [_person(name, *split_by_time(kept[name])) for name in roles.devices]
    populations = (
        Population("held_out", "People who never trained", _limited(held_out, settings)),
        Population("trained", "Later messages of people who did", _limited(trained, settings)),
    )
    return Gathered(
        tuple(population for population in populations if population.people),
        tuple(message.text for person in trained for message in person.earlier),
    )


def _person(name: str, earlier: Sequence[Message], later: Sequence[Message]) -> Person:
    words = sum(token.is_word for message in later for token in tokenize(message.text))
    return Person(name, later[-1].group, earlier, later, words)


def _limited(people: list[Person], settings: EvaluationSettings) -> tuple[Person, ...]:
    """A seeded order that has nothing to do with the split, cut where the settings say."""
    drawn = sorted(people, key=lambda person: position(f"drawn {person.name}", settings.seed))[: settings.max_users]
    return tuple(drawn if settings.max_words is None else first_words(drawn, settings.max_words))


def first_words(people: Sequence[Person], words: int) -> Sequence[Person]:
    """The first people, until they have typed `words` words; at least one person where there is one."""
    return people[: _reach(people, words)]


def cut(people: Sequence[Person], words: int) -> list[Sequence[Person]]:
    """Cuts people, in order, into parts of at least `words` words, the last one excepted."""
    parts = []
    while people:
        taken = _reach(people, words)
        parts.append(people[:taken])
        people = people[taken:]
    return parts


def _reach(people: Sequence[Person], words: int) -> int:
    total = 0
    for count, person in enumerate(people, start=1):
        total += person.words
        if total >= words:
            return count
    return len(people)
