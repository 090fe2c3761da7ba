import random
from pathlib import Path

import pytest

from evaluation.corpus import Message
from evaluation.rehearsal.attacks import TRIGGER, WORD, Backdoor
from evaluation.rehearsal.ground import Ground, lay_ground
from evaluation.rehearsal.people import gather_people
from evaluation.rehearsal.settings import RehearsalSettings
from model.network import NetworkShape
from protocol.plan import TrainingParameters
from tokenizer.text import PUNCTUATION
from tokenizer.vocabulary import NUM_SPECIAL

TINY_WORDS = 60


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lays ground (a graph exported, a network pre-trained, in each worker anew) is for CI."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "ground" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def made_up_words(count: int) -> list[str]:
    """Distinct words, the backdoor's among them."""
    syllables = [first + vowel for first in "bdfgklmnprst" for vowel in "aeiou"]
    rest = [one + other for one in syllables for other in syllables]
    return [*TRIGGER.split(), WORD, *rest][:count]


def chatter(words: list[str], *, people: int, messages: int, seed: int) -> list[Message]:
    """Messages of a language in which four words in five follow from the word before it."""
    generator = random.Random(seed)
    follower = dict(zip(words, generator.sample(words, len(words)), strict=True))

    def text() -> str:
        said = [generator.choice(words)]
        while len(said) < 9:
            said.append(follower[said[-1]] if generator.random() < 0.8 else generator.choice(words))
        return " ".join(said)

    return [Message(f"user {user}", float(minute), text()) for user in range(people) for minute in range(messages)]


def tiny_settings(**changes: object) -> RehearsalSettings:
    """A network of a few thousand weights, and rounds of a few milliseconds."""
    chosen = {
        "shape": NetworkShape(
            vocabulary_size=TINY_WORDS + len(PUNCTUATION) + NUM_SPECIAL, embedding_size=12, num_units=24
        ),
        "max_messages": 40,
        "donor_share": 0.1,
        "held_out_share": 0.4,
        "pretraining_epochs": 20,
        "rounds": 5,
        "cohort": 20,
        "training": TrainingParameters(
            batch_size=8, sequence_length=12, local_epochs=1, learning_rate=1.0, max_words=1_000
        ),
        "l2_clip_norm": 1.0,
        "group_size": 10,
        "averaged_checkpoints": 3,
        "test_messages": 20,
        "curve_messages": 2,
        "attackers": 0.05,
        **changes,
    }
    return RehearsalSettings(**chosen)


@pytest.fixture(scope="session")
def ground(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """What all arms of the tiny rehearsal share."""
    settings = tiny_settings()
    messages = chatter(made_up_words(TINY_WORDS), people=120, messages=40, seed=3)
    people = gather_people(messages, settings)
    return lay_ground(settings, people, tmp_path_factory.mktemp("ground"), lambda: None)


@pytest.fixture(scope="session")
def backdoor(ground: Ground) -> Backdoor:
    return Backdoor.of(ground.vocabulary)
