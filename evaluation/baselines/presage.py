"""Presage, the predictive text library of the free desktop, asked through its own C interface.

Its database of n-grams is made by its own `text2ngram` from the same text as every other baseline; its own text, a
novel's, is left out. It has no vocabulary but the text's: it may suggest words that our models do not know.
"""

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from evaluation.baselines.absent import BaselineAbsent
from tokenizer.text import lower, tokenize

PROFILE_PATH = Path("/etc/presage.xml")
_LIBRARY = "presage"
_ORDER = 3
_NUM_SUGGESTIONS = 3
_MAX_WORDS = 20
"""Far more than its n-grams look back."""
_MAX_BYTES = 1 << 16
_SETTINGS = {
    "PredictorRegistry/PREDICTORS": "DefaultSmoothedNgramPredictor",
    "Predictors/DefaultSmoothedNgramPredictor/LEARN": "false",
    "Selector/SUGGESTIONS": str(_NUM_SUGGESTIONS),
    "Selector/REPEAT_SUGGESTIONS": "yes",
    "ContextTracker/ONLINE_LEARNING": "no",
}
"""Each question stands by itself, whatever was asked before; all else is Presage's default."""

_Strings = ctypes.POINTER(ctypes.c_char_p)
_Stream = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class PresageFailed(Exception):
    """Presage gave an error code. What it was asked is left out."""


def require_presage() -> None:
    """Makes sure that Presage is here.

    Raises:
      BaselineAbsent: it is not.

    """
    if not (shutil.which("text2ngram") and ctypes.util.find_library(_LIBRARY) and PROFILE_PATH.is_file()):
        raise BaselineAbsent("presage is not installed: apt install presage")


def make_database(texts: Iterable[str], path: Path, on_progress: Callable[[str], None] = lambda _: None) -> None:
    """Counts the n-grams of `texts`, up to three words, with Presage's own tool.

    Args:
      texts: messages.
      path: where the database will be; whole or not at all.
      on_progress: told of each order.

    Raises:
      BaselineAbsent: Presage is not installed.
      PresageFailed: its tool failed.

    """
    require_presage()
    with tempfile.TemporaryDirectory(prefix=".presage-", dir=path.parent) as folder:
        text, database = Path(folder) / "text", Path(folder) / "database"
        with open(os.open(text, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(" ".join(token.text for token in tokenize(each)) + "\n" for each in texts)
        for order in range(1, _ORDER + 1):
            on_progress(f"presage counts n-grams of order {order}")
            command = ["text2ngram", "-n", str(order), "-l", "-a", "-f", "sqlite", "-o", str(database), str(text)]
            if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603
                raise PresageFailed(f"text2ngram must count n-grams of order {order}, got an error")
        database.chmod(0o600)
        database.replace(path)


class PresageSuggester:
    """Presage behind `evaluation.predictors.Suggester`. Not for use by several threads at once."""

    def __init__(self, database: Path):
        """Opens a database that `make_database` made.

        Raises:
          BaselineAbsent: Presage is not installed.
          PresageFailed: it does not start.

        """
        require_presage()
        self._library = _load()
        self._past = ctypes.create_string_buffer(_MAX_BYTES)
        self._future = ctypes.create_string_buffer(1)
        # Presage keeps these: they must live as long as it does.
        self._streams = [
            _Stream(lambda _, buffer=each: ctypes.addressof(buffer)) for each in (self._past, self._future)
        ]
        self._presage = ctypes.c_void_p()
        with _profile(database) as profile:
            _check(
                self._library.presage_new_with_config(
                    self._streams[0], None, self._streams[1], None, str(profile).encode(), ctypes.byref(self._presage)
                )
            )

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        """See `evaluation.predictors.Suggester.suggest`.

        Raises:
          PresageFailed: Presage gave an error.

        """
        words = [token.text for token in tokenize(before)][-_MAX_WORDS:]
        self._past.value = " ".join([*words, lower(prefix)]).encode()
        found = _Strings()
        _check(self._library.presage_predict(self._presage, ctypes.byref(found)))
        try:
            return [found[place].decode() for place in range(_count(found))][:_NUM_SUGGESTIONS]
        finally:
            self._library.presage_free_string_array(found)

    def learn(self, message: str) -> None:
        """Does nothing: what Presage learns goes into the database, which all share."""

    def close(self) -> None:
        """Frees what Presage holds; no question may follow."""
        self._library.presage_free(self._presage)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library(_LIBRARY))
    pointer = ctypes.c_void_p
    library.presage_new_with_config.argtypes = [
        _Stream, pointer, _Stream, pointer, ctypes.c_char_p, ctypes.POINTER(pointer)
    ]  # fmt: skip
    library.presage_predict.argtypes = [pointer, ctypes.POINTER(_Strings)]
    library.presage_free_string_array.argtypes = [_Strings]
    library.presage_free.argtypes = [pointer]
    return library


@contextlib.contextmanager
def _profile(database: Path) -> Iterator[Path]:
    """Presage's own settings with ours instead of some, in a file that is there while Presage starts."""
    profile = ElementTree.parse(PROFILE_PATH)  # noqa: S314 - the distribution's own file
    for name, value in (_SETTINGS | {"Predictors/DefaultSmoothedNgramPredictor/DBFILENAME": str(database)}).items():
        setting = profile.find(name)
        if setting is None:
            raise PresageFailed(f"{PROFILE_PATH} must have the setting {name}, got none")
        setting.text = value
    with tempfile.TemporaryDirectory(prefix="presage-") as folder:
        path = Path(folder) / "presage.xml"
        profile.write(path)
        yield path


def _check(code: int) -> None:
    if code:
        raise PresageFailed(f"presage must answer with code 0, got {code}")


def _count(strings: "ctypes._Pointer[ctypes.c_char_p]") -> int:
    """The length of an array that ends in a null pointer."""
    place = 0
    while strings[place] is not None:
        place += 1
    return place
