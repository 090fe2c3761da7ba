from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from device_runtime.releases.release import PUBLIC_KEY_FILE
from evaluation.baselines.registry import BaselineAbsent, train_baseline
from evaluation.evaluate.contestants import (
    AbsentPredictor,
    Contestant,
    Ground,
    Kind,
    UnknownPredictor,
    choose_vocabulary,
    identity,
    open_contestant,
    parse_contestant,
)
from evaluation.predictors import NetworkPredictor, Predictor, Suggester, UnigramPredictor
from evaluation.releases import PersonalisedRelease, ReleasePredictor
from model.network import SMALL, NetworkShape, initial_weights
from protocol.weights import encode_checkpoint
from tokenizer.vocabulary import Vocabulary

TEXTS = ("we walk home", "we walk to the zoo", "home is the zoo !")


class Parrot:
    """Suggests what it was trained on last."""

    def __init__(self, text: str):
        self.words = text.split()

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        return [word for word in self.words if word.startswith(prefix)][:3]

    def learn(self, message: str) -> None:
        """Learns nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of three baselines, one of which is absent."""

    def train(
        name: str, texts: Iterable[str], vocabulary: Vocabulary, folder: Path, on_progress: Callable[[str], None]
    ) -> Predictor | Suggester:
        if name == "presage":
            raise BaselineAbsent("presage is not installed: apt install presage")
        if name == "parrot":
            on_progress("parrot: training")
            return Parrot(list(texts)[-1])
        return train_baseline(name, texts, vocabulary, folder, on_progress)

    known = {"unigram": "the word list", "parrot": "the last text", "presage": "Presage"}
    monkeypatch.setattr("evaluation.evaluate.contestants.BASELINES", known)
    monkeypatch.setattr("evaluation.evaluate.contestants.train_baseline", train)


def ground(tmp_path: Path, training: tuple[str, ...] = TEXTS, vocabulary: bytes | None = None) -> Ground:
    return Ground(vocabulary=vocabulary or choose_vocabulary(None, (), TEXTS).model, training=training, folder=tmp_path)


def test_specifications_are_told_apart(registry: None, release_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights-0001.safetensors"
    weights.write_bytes(b"")
    assert parse_contestant("unigram") == Contestant(name="unigram", kind=Kind.BASELINE, source="unigram")
    assert parse_contestant("bird=parrot") == Contestant(name="bird", kind=Kind.BASELINE, source="parrot")
    assert parse_contestant(str(release_folder)).kind is Kind.RELEASE
    assert parse_contestant(str(release_folder)).name == release_folder.parent.name
    personal = parse_contestant(f"personalised:{release_folder}")
    assert (personal.kind, personal.source) == (Kind.PERSONALISED, str(release_folder))
    assert personal.name == f"personalised:{release_folder.parent.name}"
    assert parse_contestant(f"mine={weights}") == Contestant(name="mine", kind=Kind.WEIGHTS, source=str(weights))


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "personalised:unigram", "absent.safetensors", "bird=", "personalised:"]
)
def test_what_is_none_of_them_is_refused(registry: None, wrong: str) -> None:
    with pytest.raises(UnknownPredictor, match="must be one of unigram, parrot, presage, a release's folder"):
        parse_contestant(wrong)


def test_each_is_opened_as_what_it_is(registry: None, release_folder: Path, tmp_path: Path) -> None:
    shared = ground(tmp_path, vocabulary=(release_folder / "vocabulary.model").read_bytes())
    told: list[str] = []
    parrot = open_contestant(parse_contestant("parrot"), shared, told.append)
    assert isinstance(parrot, Parrot)
    assert parrot.words == TEXTS[-1].split()
    assert told == ["parrot: training"]
    assert isinstance(open_contestant(parse_contestant("unigram"), shared), UnigramPredictor)
    assert isinstance(open_contestant(parse_contestant(str(release_folder)), shared), ReleasePredictor)
    assert isinstance(open_contestant(parse_contestant(f"personalised:{release_folder}"), shared), PersonalisedRelease)
    weights = tmp_path / "weights.safetensors"
    shape = NetworkShape(vocabulary_size=200, embedding_size=SMALL.embedding_size, num_units=SMALL.num_units)
    weights.write_bytes(encode_checkpoint(initial_weights(shape, 1)))
    assert isinstance(open_contestant(parse_contestant(str(weights)), shared), NetworkPredictor)


def test_what_cannot_be_opened_says_why(registry: None, release_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AbsentPredictor, match=r"^presage is not installed: apt install presage$"):
        open_contestant(parse_contestant("presage"), ground(tmp_path))
    with pytest.raises(UnknownPredictor, match="must have the vocabulary of the evaluation"):
        open_contestant(parse_contestant(str(release_folder)), ground(tmp_path))
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"no weights")
    with pytest.raises(UnknownPredictor, match="must hold weights of the full or the small network"):
        open_contestant(parse_contestant(str(weights)), ground(tmp_path))


def test_a_damaged_release_is_refused(release_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "release"
    damaged.mkdir()
    for file in release_folder.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / PUBLIC_KEY_FILE).unlink()
    with pytest.raises(UnknownPredictor, match="must be a release"):
        choose_vocabulary(None, [parse_contestant(str(damaged))], TEXTS)


def test_an_identity_is_of_all_that_answers_depend_on(release_folder: Path, tmp_path: Path) -> None:
    unigram, weights = parse_contestant("unigram"), tmp_path / "a.safetensors"
    weights.write_bytes(b"one")
    contestants = [unigram, parse_contestant(str(release_folder)), parse_contestant(f"personalised:{release_folder}")]
    contestants.append(parse_contestant(str(weights)))
    shared = ground(tmp_path)
    digests = [identity(each, shared) for each in contestants]
    assert len(set(digests)) == len(digests)
    assert digests == [identity(each, shared) for each in contestants]
    other_text = ground(tmp_path, training=TEXTS[:-1])
    changed = [identity(each, other_text) != digest for each, digest in zip(contestants, digests, strict=True)]
    assert changed == [True, False, False, False]  # only baselines are trained on it
    weights.write_bytes(b"other")
    assert identity(contestants[3], shared) != digests[3]


def test_the_vocabulary_is_the_given_one_or_the_releases_or_of_the_text(release_folder: Path, tmp_path: Path) -> None:
    of_release = (release_folder / "vocabulary.model").read_bytes()
    of_text = choose_vocabulary(None, [parse_contestant("unigram")], TEXTS)
    assert {of_text.words[index] for index in of_text.target_ids} == {"we", "walk", "home", "to", "the", "zoo", "is"}
    assert choose_vocabulary(of_text.model, [parse_contestant(str(release_folder))], TEXTS).model == of_text.model
    both = [parse_contestant("unigram"), parse_contestant(str(release_folder))]
    assert choose_vocabulary(None, both, ()).model == of_release
    with pytest.raises(UnknownPredictor, match="SentencePiece"):
        choose_vocabulary(b"nonsense", (), TEXTS)
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(UnknownPredictor, match="--vocabulary"):
        choose_vocabulary(None, [parse_contestant(str(tmp_path / "a.safetensors"))], TEXTS)
