"""Releases as they serve people: the shared model in TFLite, and made personal, both by the device's own runtime."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_runtime.releases.release import Release, save_release
from device_runtime.suggestions.next_word import Outlook
from device_runtime.suggestions.predictor import Predictor
from evaluation.corpus import Message
from evaluation.personalisation import tuned_on
from evaluation.predictors import Suggester
from protocol.arrays import FloatArray
from protocol.manifest import FileEntry, Manifest, sign_manifest
from tokenizer.casing import Casing
from tokenizer.vocabulary import Vocabulary

_LATER_S = 1.0


def save_for_measuring(folder: Path, prediction_model: bytes, vocabulary: Vocabulary, *, name: str) -> None:
    """Writes a release that nobody published: no statement, no capitals, and its key is thrown away."""
    files = {
        "prediction_model": prediction_model,
        "vocabulary": vocabulary.model,
        "casing": Casing({}).to_tsv(),
        "privacy_statement": b"{}",
    }
    entries = {entry: FileEntry.of(content) for entry, content in files.items()}
    manifest = Manifest(purpose="release", population=name, model_version=0, created_at=0, files=entries)
    key = Ed25519PrivateKey.generate()
    save_release(folder, sign_manifest(manifest, key), files, key.public_key())


class ReleasePredictor:
    """A release's shared model, float or int8 as it was exported. Scores, and suggests as the keyboard does.

    What an operator blocks is scored, for the model knows it, and never suggested.
    """

    def __init__(self, release: Release):
        """Loads the model.

        Raises:
          InvalidVocabulary, InvalidModel, InvalidBlockList, ValueError: see `Release.predictor`.

        """
        self._model = release.model()
        self._keyboard = ReleaseSuggester(release.predictor())

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        """See `evaluation.predictors.Predictor.score`; one step of the network for each token."""
        for message in messages:
            rows = np.empty((len(message) - 1, len(self._model.vocabulary)), dtype=np.float32)
            outlook: Outlook = self._model.start
            for row, read in enumerate(message[:-1]):
                if row:
                    outlook = self._model.read(outlook.state, read)
                rows[row] = outlook.logits
            yield rows

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        """See `evaluation.predictors.Suggester.suggest`."""
        return self._keyboard.suggest(before, prefix)

    def learn(self, message: str) -> None:
        """The shared model learns nothing while people type."""


class ReleaseSuggester:
    """The keyboard's predictor as a suggester."""

    def __init__(self, predictor: Predictor, learn: Callable[[str], None] = lambda _: None):
        """Takes the predictor, and who is told what was sent."""
        self._predictor = predictor
        self._learn = learn

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        """See `evaluation.predictors.Suggester.suggest`."""
        return [each.word for each in self._predictor.suggest(before + prefix)]

    def learn(self, message: str) -> None:
        """See `evaluation.predictors.Suggester.learn`."""
        self._learn(message)
        self._predictor.reset()  # what it has scored, it scored before it learned this


class PersonalisedRelease:
    """A release with personalisation, tuned on each person's earlier messages as a device tunes it on its log."""

    def __init__(self, release: Release):
        """Takes the release."""
        self._release = release

    @contextmanager
    def meet(self, earlier: Sequence[Message]) -> Iterator[Suggester]:
        """See `evaluation.predictors.Personal.meet`; takes about a millisecond for each earlier word."""
        with tuned_on(self._release, earlier, now=earlier[-1].sent_at + _LATER_S) as (personal, _):
            yield ReleaseSuggester(self._release.predictor(personal=personal), personal.learn)
