"""Baselines by name, each trained once on the text that it is given and kept in a folder."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from device_runtime.storage.files import private_directory, write_atomically
from evaluation.baselines.absent import BaselineAbsent
from evaluation.baselines.kneser_ney import Estimate, estimate
from evaluation.baselines.ngram import NgramModel, NgramPredictor
from evaluation.baselines.onboard import OnboardSuggester, train_onboard
from evaluation.baselines.packing import pack, unpack
from evaluation.baselines.presage import PresageSuggester, make_database
from evaluation.baselines.pruning import prune_to_size
from evaluation.predictors import Predictor, Suggester, UnigramPredictor
from tokenizer.training import count_words
from tokenizer.vocabulary import Vocabulary

__all__ = ["BASELINES", "BaselineAbsent", "UnknownBaseline", "train_baseline"]

BASELINES: Mapping[str, str] = {
    "unigram": "the most frequent words, whatever came before",
    "ngram": "5-gram, interpolated modified Kneser-Ney, unpruned",
    "ngram-small": "the same 5-gram, pruned by relative entropy to the 1.41 MB of the int8 network",
    "presage": "Presage's smoothed 3-gram, by its own library",
    "onboard": "the 3-gram of Onboard, the on-screen keyboard, by its own library",
}

ORDER = 5
SMALL_BYTES = 1_410_000
"""What `keychorus model export-prediction-model` makes of the full network, rounded down to 10 KB."""
SMALL_VALUES = 256
"""Different logarithms a level in the small model. Fewer leave room for more n-grams, but tie those that matter."""

_Tell = Callable[[str], None]


class UnknownBaseline(Exception):
    """A name that is not in `BASELINES`."""


def train_baseline(
    name: str, texts: Iterable[str], vocabulary: Vocabulary, folder: Path, on_progress: _Tell = lambda _: None
) -> Predictor | Suggester:
    """Trains a baseline, or reads it from `folder` if the same was trained there on the same text.

    Args:
      name: one of `BASELINES`.
      texts: messages; a baseline sees them in this order and nothing else.
      vocabulary: of predictors; suggesters have the words of `texts`.
      folder: for trained models, made if missing, readable by its owner only: models hold what people typed.
      on_progress: told what is being done, never with text.

    Raises:
      UnknownBaseline: there is none of that name.
      BaselineAbsent: it is a program that is not installed here.

    """
    if name not in BASELINES:
        raise UnknownBaseline(f"a baseline must be one of {', '.join(BASELINES)}, got {name}")
    messages = list(texts)
    if name == "unigram":
        return UnigramPredictor(vocabulary, count_words(messages))
    path = private_directory(folder) / f"{name}-{_digest(messages, vocabulary)}"
    if name == "presage":
        return _train_presage(messages, path, on_progress)
    if name == "onboard":
        return _train_onboard(messages, path, on_progress)
    return NgramPredictor(_train_ngram(name, messages, vocabulary, path, on_progress))


def _digest(messages: Iterable[str], vocabulary: Vocabulary) -> str:
    """A name for what a model was trained on."""
    digest = hashlib.sha256(hashlib.sha256(vocabulary.model).digest())
    for message in messages:
        digest.update(hashlib.sha256(message.encode()).digest())
    return digest.hexdigest()[:16]


def _train_ngram(name: str, messages: list[str], vocabulary: Vocabulary, path: Path, tell: _Tell) -> NgramModel:
    if not path.exists():
        tell(f"{name}: counting n-grams of {len(messages)} messages")
        encoded = [vocabulary.encode_message(message) for message in messages]
        estimated = estimate(encoded, vocabulary.target_ids, len(vocabulary), ORDER)
        write_atomically(path, _shrink(estimated, tell) if name == "ngram-small" else pack(estimated.model))
    return unpack(path.read_bytes())


def _shrink(estimated: Estimate, tell: _Tell) -> bytes:
    """The small model as it is written: its logarithms are rounded, and it is these that are read again."""
    small = prune_to_size(estimated, lambda model: len(pack(model, SMALL_VALUES)), SMALL_BYTES, tell)
    return pack(small, SMALL_VALUES)


def _train_presage(messages: list[str], path: Path, tell: _Tell) -> PresageSuggester:
    if not path.exists():
        make_database(messages, path, tell)
    return PresageSuggester(path)


def _train_onboard(messages: list[str], path: Path, tell: _Tell) -> OnboardSuggester:
    if path.exists():
        suggester = OnboardSuggester()
        suggester.load(path)
        return suggester
    tell(f"onboard learns {len(messages)} messages")
    suggester = train_onboard(messages)
    unfinished = path.with_suffix(".unfinished")
    suggester.save(unfinished)
    unfinished.chmod(0o600)
    unfinished.replace(path)
    return suggester
