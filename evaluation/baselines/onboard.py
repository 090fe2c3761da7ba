"""The word suggestions of Onboard, the on-screen keyboard of the free desktop: its compiled language model.

Words are cut by our own definition. As in Onboard the end of a sentence begins a new one, other punctuation is no
token, and the model has no vocabulary but the text's: it may suggest words that our models do not know.
"""

import importlib.machinery
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from evaluation.baselines.absent import BaselineAbsent
from tokenizer.text import Token, ends_sentence, lower, tokenize

LIBRARY_FOLDER = Path("/usr/lib/python3/dist-packages/Onboard/pypredict")
_ORDER = 3
_NUM_SUGGESTIONS = 3
_START = "<s>"


def load_library(folder: Path = LIBRARY_FOLDER) -> ModuleType:
    """Loads Onboard's language model, built for the distribution's Python.

    Raises:
      BaselineAbsent: it is not installed, or built for another version of Python.

    """
    path = folder / f"lm{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not path.is_file():
        raise BaselineAbsent("onboard is not installed for this version of Python: apt install onboard")
    loader = importlib.machinery.ExtensionFileLoader("lm", str(path))
    specification = importlib.util.spec_from_loader("lm", loader)
    if specification is None:
        raise BaselineAbsent(f"onboard's library {path} cannot be loaded")
    library = importlib.util.module_from_spec(specification)
    loader.exec_module(library)
    return library


class OnboardSuggester:
    """Onboard's model behind `evaluation.predictors.Suggester`, with the smoothing that Onboard itself chooses."""

    def __init__(self) -> None:
        """Makes a model that knows no word.

        Raises:
          BaselineAbsent: Onboard is not installed.

        """
        self._model: Any = load_library().DynamicModel(_ORDER)

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        """See `evaluation.predictors.Suggester.suggest`."""
        sentence = list(_sentences(tokenize(before)))[-1]
        found: list[str] = self._model.predict([*sentence[-_ORDER:], lower(prefix)], _NUM_SUGGESTIONS)
        return found[:_NUM_SUGGESTIONS]

    def learn(self, message: str) -> None:
        """Counts the n-grams of a message."""
        for sentence in _sentences(tokenize(message)):
            for first in range(len(sentence)):
                for last in range(first + 1, min(first + _ORDER, len(sentence)) + 1):
                    self._model.count_ngram(sentence[first:last], 1, True)

    def save(self, path: Path) -> None:
        """Writes the model in Onboard's own form, a text file of counts."""
        self._model.save(str(path))

    def load(self, path: Path) -> None:
        """Reads what `save` wrote."""
        self._model.load(str(path))


def train_onboard(texts: Iterable[str]) -> OnboardSuggester:
    """Learns every message of `texts`.

    Raises:
      BaselineAbsent: Onboard is not installed.

    """
    suggester = OnboardSuggester()
    for text in texts:
        suggester.learn(text)
    return suggester


def _sentences(tokens: Sequence[Token]) -> Iterator[list[str]]:
    """The words of each sentence, behind a mark of its start; the last may have none yet."""
    sentence = [_START]
    for token in tokens:
        if token.is_word:
            sentence.append(token.text)
        elif ends_sentence(token):
            yield sentence
            sentence = [_START]
    yield sentence
