"""Made-up people whose words follow one another. And what runs in the simulation role's environment only.

`tests/test_roles.py` builds that environment and runs this folder's tests in it.
"""

import random
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from evaluation.corpus import Message
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.people import gather_people
from evaluation.rehearsal.settings import small_size
from model.network import NetworkShape, initial_weights
from tokenizer.text import PUNCTUATION
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

NEED_TFF = {"test_learning.py", "test_optimizers.py", "test_runtime.py", "test_second_opinion.py", "test_simulate.py"}


@pytest.hookimpl(tryfirst=True)  # before slow tests are chosen or left out
def pytest_collection_modifyitems(items):
    absent = pytest.mark.skip(reason="needs TensorFlow Federated: tests/test_roles.py runs it in its environment")
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in NEED_TFF:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))  # TFF's own, at import
            if find_spec("tensorflow_federated") is None:
                item.add_marker(absent)


def syllables(count):
    """Distinct words."""
    short = [first + vowel for first in "bdfgklmnprst" for vowel in "aeiou"]
    return [one + other for one in short for other in short][:count]


def make_chats(*, num_words, people, messages=24):
    """Messages of a language in which four words in five follow from the word before them."""
    words, generator = syllables(num_words), random.Random(3)
    follower = dict(zip(words, generator.sample(words, len(words)), strict=True))

    def text():
        said = [generator.choice(words)]
        while len(said) < 9:
            said.append(follower[said[-1]] if generator.random() < 0.8 else generator.choice(words))
        return " ".join(said)

    return [Message(f"user {user}", float(minute), text()) for user in range(people) for minute in range(messages)]


def lay_ground(*, seed=1):
    """Without pre-training and without a training graph, which TFF needs none of."""
    shape = NetworkShape(vocabulary_size=60 + len(PUNCTUATION) + NUM_SPECIAL, embedding_size=12, num_units=24)
    settings = small_size(seed=seed)
    people = gather_people(make_chats(num_words=60, people=60), settings)
    counts = count_words(text for texts in people.training.values() for text in texts)
    vocabulary = Vocabulary(train_vocabulary(counts, shape.vocabulary_size))
    return Ground(
        settings=replace(settings, shape=shape),
        people=people,
        vocabulary=vocabulary,
        pretrained=initial_weights(shape, seed),
        graph=b"",
    )


@pytest.fixture(scope="session")
def chats():
    return make_chats


@pytest.fixture(scope="session")
def make_ground():
    return lay_ground


@pytest.fixture(scope="session")
def tensorflow_imported():
    """Its own import meets a deprecated name of a package that it pins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow  # noqa: F401
