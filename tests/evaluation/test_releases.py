from pathlib import Path

import numpy as np
import pytest

from device_runtime.releases.release import PUBLIC_KEY_FILE, Release, open_release, read_public_key
from evaluation.answers import read_scores
from evaluation.corpus import Message
from evaluation.predictors import Personal, Predictor, Suggester
from evaluation.releases import PersonalisedRelease, ReleasePredictor, ReleaseSuggester
from evaluation.targets import SuggestionIndex, type_messages
from evaluation.typist import type_text
from tokenizer.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def release(release_folder: Path) -> Release:
    return open_release(release_folder, read_public_key(release_folder / PUBLIC_KEY_FILE))


def test_scores_say_what_the_keyboard_shows(release: Release) -> None:
    """The same words, asked for all at once and key by key."""
    vocabulary = Vocabulary(release.vocabulary)
    words = [vocabulary.words[index] for index in sorted(vocabulary.target_ids)]
    text = " ".join(np.random.default_rng(2).choice(words, 40).tolist())
    predictor = ReleasePredictor(release)
    (message,) = type_messages([text], vocabulary)
    (scores,) = predictor.score([message.ids])
    answers = read_scores(message, scores, SuggestionIndex(vocabulary))
    typed = list(type_text(text, predictor))
    assert [word.letters for word in typed] == answers.typed.tolist()
    assert [word.rank for word in typed] == [rank if rank < 3 else None for rank in answers.rank.tolist()]


def test_what_each_of_them_can(release: Release) -> None:
    predictor = ReleasePredictor(release)
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor, Suggester)
    assert isinstance(PersonalisedRelease(release), Personal)
    assert not isinstance(PersonalisedRelease(release), Predictor | Suggester)


def test_a_person_is_known_by_earlier_messages_and_learned_from(release: Release) -> None:
    earlier = [Message("a", 1.6e9 + 60 * minute, "we zorble the flink again") for minute in range(60)]
    with PersonalisedRelease(release).meet(earlier) as suggester:
        assert "flink" in suggester.suggest("we zorble the ", "f")
        assert "quargel" not in suggester.suggest("", "quar")
        for _ in range(3):
            suggester.learn("quargel flink")
        assert "quargel" in [word.lower() for word in suggester.suggest("", "quar")]
    with PersonalisedRelease(release).meet(earlier[:1]) as stranger:
        assert "flink" not in stranger.suggest("we zorble the ", "f")


def test_without_a_person_nothing_is_learned(release: Release) -> None:
    suggester = ReleaseSuggester(release.predictor())
    before = suggester.suggest("", "")
    suggester.learn("zorble zorble zorble")
    assert suggester.suggest("", "") == before
