"""Predictors by what the command line calls them: what each is, what its answers depend on, how it is opened."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from device_runtime.releases.release import (
    MANIFEST_FILE,
    PUBLIC_KEY_FILE,
    IncompleteRelease,
    Release,
    open_release,
    read_public_key,
)
from evaluation.baselines.registry import BASELINES, BaselineAbsent, train_baseline
from evaluation.predictors import NetworkPredictor, Personal, Predictor, Suggester
from model.network import FULL, SMALL
from protocol.errors import ProtocolError, WrongContent
from protocol.weights import Weights, decode_checkpoint
from tokenizer.text import PUNCTUATION
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, InvalidVocabulary, Vocabulary

Answerer = Predictor | Suggester | Personal
PERSONALISED = "personalised:"
UNIGRAM = "unigram"
MOST_WORDS = 10_000
"""Ids of a vocabulary that is made here."""


class UnknownPredictor(Exception):
    """A specification that names no predictor, or one that cannot be opened."""


class AbsentPredictor(Exception):
    """A predictor of others that is not installed here; the message says how to get it."""


class Kind(Enum):
    """What a contestant is."""

    BASELINE = "trained on the training text"
    RELEASE = "release, by the device's runtime"
    PERSONALISED = "release, tuned on each person's earlier messages"
    WEIGHTS = "weights, by TensorFlow"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A predictor to be opened wherever it is needed.

    Attributes:
      name: for people; no two of an evaluation have the same.
      kind: what it is.
      source: name of a baseline, else a path.

    """

    name: str
    kind: Kind
    source: str


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What all contestants share.

    Attributes:
      vocabulary: file of the vocabulary, by which words are known or not.
      training: text that baselines train on, the same for all.
      folder: where trained baselines are kept.

    """

    vocabulary: bytes
    training: Sequence[str]
    folder: Path


def parse_contestant(specification: str) -> Contestant:
    """Reads `[NAME=]SPEC`, where SPEC is a baseline's name, a folder of a release, `personalised:` with such a folder
    behind it, or a file of weights that ends in `.safetensors`.

    >>> parse_contestant("words=unigram").name
    'words'

    Raises:
      UnknownPredictor: it is none of these.

    """
    name, named, source = specification.rpartition("=")
    kind, path = _kind_of(source)
    return Contestant(name=name if named else _short(source), kind=kind, source=path)


def _kind_of(source: str) -> tuple[Kind, str]:
    if source in BASELINES:
        return Kind.BASELINE, source
    path = source.removeprefix(PERSONALISED)
    if (Path(path) / MANIFEST_FILE).is_file():
        return (Kind.PERSONALISED if source.startswith(PERSONALISED) else Kind.RELEASE), path
    if path == source and path.endswith(".safetensors") and Path(path).is_file():
        return Kind.WEIGHTS, path
    raise UnknownPredictor(
        f"a predictor must be one of {', '.join(BASELINES)}, a release's folder, {PERSONALISED}FOLDER "
        f"or a file .safetensors, got {source}"
    )


def _short(source: str) -> str:
    """The last part of a path that says something."""
    prefix = PERSONALISED if source.startswith(PERSONALISED) else ""
    path = Path(source.removeprefix(PERSONALISED))
    return prefix + (path.parent.name if path.name in {"release", "weights.safetensors"} else path.name)


def identity(contestant: Contestant, ground: Ground) -> bytes:
    """A digest of everything that the answers of a contestant depend on, the questions excepted."""
    digest = hashlib.sha256(f"{contestant.kind.name}\n".encode())
    digest.update(hashlib.sha256(ground.vocabulary).digest())
    if contestant.kind is Kind.BASELINE:
        digest.update(contestant.source.encode())
        for text in ground.training:
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.digest()
    path = Path(contestant.source)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()


def open_contestant(
    contestant: Contestant, ground: Ground, on_progress: Callable[[str], None] = lambda _: None
) -> Answerer:
    """Opens a contestant; a baseline is trained unless `ground.folder` keeps it.

    Raises:
      AbsentPredictor: a baseline that is not installed.
      UnknownPredictor: it cannot be opened; the message says why.

    """
    if contestant.kind is Kind.BASELINE:
        return _open_baseline(contestant.source, ground, on_progress)
    if contestant.kind is Kind.WEIGHTS:
        return NetworkPredictor(_read_weights(Path(contestant.source), Vocabulary(ground.vocabulary)))
    from evaluation.releases import PersonalisedRelease, ReleasePredictor

    release = read_release(Path(contestant.source))
    if release.vocabulary != ground.vocabulary:
        raise UnknownPredictor(f"{contestant.source} must have the vocabulary of the evaluation, got another one")
    return PersonalisedRelease(release) if contestant.kind is Kind.PERSONALISED else ReleasePredictor(release)


def read_release(folder: Path) -> Release:
    """Reads a release, which shows no more than that nothing is damaged: its key comes with it.

    Raises:
      UnknownPredictor: it is not whole.

    """
    try:
        return open_release(folder, read_public_key(folder / PUBLIC_KEY_FILE))
    except (IncompleteRelease, ProtocolError) as error:
        raise UnknownPredictor(f"{folder} must be a release: {error}") from None


def _open_baseline(name: str, ground: Ground, on_progress: Callable[[str], None]) -> Answerer:
    vocabulary = Vocabulary(ground.vocabulary)
    try:
        return train_baseline(name, ground.training, vocabulary, ground.folder, on_progress)
    except BaselineAbsent as error:
        raise AbsentPredictor(str(error)) from None


def _read_weights(path: Path, vocabulary: Vocabulary) -> Weights:
    """Weights of the full or the small network, whichever they fit."""
    payload = path.read_bytes()
    for shape in (FULL, SMALL):
        try:
            return decode_checkpoint(payload, replace(shape, vocabulary_size=len(vocabulary)).tensors)
        except WrongContent:
            continue
    raise UnknownPredictor(
        f"{path} must hold weights of the full or the small network with a vocabulary of {len(vocabulary)}"
    )


def choose_vocabulary(given: bytes | None, contestants: Sequence[Contestant], training: Sequence[str]) -> Vocabulary:
    """The vocabulary that was given, else the first release's, else one of the most frequent words of `training`.

    Raises:
      UnknownPredictor: it is no vocabulary, or weights are to be asked without one.

    """
    try:
        if given is not None:
            return Vocabulary(given)
        for contestant in contestants:
            if contestant.kind in {Kind.RELEASE, Kind.PERSONALISED}:
                return Vocabulary(read_release(Path(contestant.source)).vocabulary)
    except InvalidVocabulary as error:
        raise UnknownPredictor(str(error)) from None
    if any(contestant.kind is Kind.WEIGHTS for contestant in contestants):
        raise UnknownPredictor("weights need the vocabulary that they were trained with: --vocabulary vocabulary.model")
    counts = count_words(training)
    words = sum(word not in PUNCTUATION for word in counts)
    return Vocabulary(train_vocabulary(counts, min(MOST_WORDS, words + len(PUNCTUATION) + NUM_SPECIAL)))
