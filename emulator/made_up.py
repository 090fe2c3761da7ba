"""Text that nobody wrote, where a corpus of a language is missing: words as frequent as in it, without grammar.

A network learns from it which words are frequent, and that some people use some words more than others: enough to
rehearse how two populations share a service, not to judge suggestions in that language.
"""

import random
from itertools import islice

import wordfreq

from evaluation.corpus import Message

MADE_UP = "made-up:"
_PEOPLE, _MESSAGES, _WORDS = 80, 60, 2_000
_FAVOURITES = 12


class UnknownLanguage(Exception):
    """A language whose word counts are not known."""


def known_languages() -> list[str]:
    """Codes of the languages that can be made up, such as `de`."""
    return sorted(wordfreq.available_languages())


def made_up_messages(language: str, seed: int, *, people: int = _PEOPLE, messages: int = _MESSAGES) -> list[Message]:
    """Messages of so many people, who have a few favourite words each.

    Args:
      language: a code of wordfreq's, such as `de`.
      seed: of everything drawn.
      people: who write.
      messages: of each, 3 to 9 words long.

    Raises:
      UnknownLanguage: wordfreq has no counts.

    """
    if language not in known_languages():
        raise UnknownLanguage(f"language must be one of {', '.join(known_languages())}; got {language}")
    shares = dict(islice(wordfreq.get_frequency_dict(language).items(), 4 * _WORDS))
    words = [word for word in sorted(shares, key=lambda word: (-shares[word], word)) if word.isalpha()][:_WORDS]
    return [
        message
        for person in range(people)
        for message in _messages_of(person, language, seed, words, shares, number=messages)
    ]


def _messages_of(
    person: int, language: str, seed: int, words: list[str], shares: dict[str, float], *, number: int
) -> list[Message]:
    generator = random.Random(f"{seed} {language} {person}")  # noqa: S311  # text, guards nothing
    weights = [shares[word] for word in words]
    favourites = set(generator.sample(range(len(words)), _FAVOURITES))
    typical = sum(weights) / 100
    weights = [weight + typical * (place in favourites) for place, weight in enumerate(weights)]
    return [
        Message(
            user=f"{language}-{person:03d}",
            sent_at=3600.0 * place,
            text=" ".join(generator.choices(words, weights, k=generator.randint(3, 9))),
        )
        for place in range(number)
    ]
