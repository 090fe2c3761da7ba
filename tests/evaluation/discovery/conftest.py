import random

import pytest

from evaluation.corpus import Message
from evaluation.discovery.settings import DiscoverySettings
from evaluation.discovery.typed import TypedWords, gather_words
from protocol.discovery.parameters import DiscoveryParameters
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

KNOWN = {"see": 3.0, "you": 2.0, "at": 1.0}
PARAMETERS = DiscoveryParameters(letters="abcdehilnoprstuvxz", steps=(2, 2, 2), max_words=4, max_prefixes=50)
SETTINGS = DiscoverySettings(parameters=PARAMETERS)


@pytest.fixture(scope="session")
def messages() -> list[Message]:
    """What 200 people typed: one word all of them, some a few of them, each a word of their own, one a rare one."""
    generator = random.Random(4)
    said = []
    for number in range(200):
        own = "".join(generator.choices("abcde", k=5)) + "zz"
        words = ["zorbo", "plux" if number < 80 else "see", "blip" if number < 15 else "you", own]
        said += [Message(f"user {number}", float(minute), f"{word} at 1234567") for minute, word in enumerate(words)]
    return [*said, Message("user 7", 9.0, "zzvux")]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(train_vocabulary(KNOWN, NUM_SPECIAL + 6 + len(KNOWN)))


@pytest.fixture(scope="session")
def typed(messages: list[Message], vocabulary: Vocabulary) -> TypedWords:
    return gather_words(messages, vocabulary, SETTINGS)
