"""Suggestions after each keystroke: the state carried on, against reading the message from its beginning each time.

Both sides are processes of their own that hold what a keyboard holds and nothing else: release, typing log,
personalisation switched on, one thread. They type the same made-up messages in turn.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from rich.console import Console

from device_runtime.releases.release import PUBLIC_KEY_FILE, open_release, read_public_key
from device_runtime.runtime import runtime_name
from device_runtime.suggestions.personal import PersonalModel, Tuning
from device_runtime.typing_log import TypingLog
from evaluation.bench.runner import Result, compare, progress
from evaluation.releases import save_for_measuring
from model.network import FULL, NetworkShape, initial_weights
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

NAME = "suggest"
_ROOT = Path(__file__).parents[2]
_NUM_LOGGED = 300


class NothingPersonal(Exception):
    """Tuning found no help in the made-up log, so that the cost of personalisation would not be measured."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides do.

    Attributes:
      release: folder of the release to measure, or None for one of random weights and made-up words.
      shape: of the network of such a release.
      texts_per_turn: messages typed for one measurement.
      words_per_text: words a message.
      seed: of weights, words and messages.

    """

    release: Path | None = None
    shape: NetworkShape = FULL
    texts_per_turn: int = 10
    words_per_text: int = 15
    seed: int = 0


class Typist:
    """One side: a suggesting process, and how long its keystrokes took."""

    def __init__(self, command: list[str], texts: list[str]):
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        self._texts = texts
        self.milliseconds: list[float] = []
        """Of every keystroke of all turns."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=10)  # the end of its input ends it
        if self._process.poll() is None:
            self._process.kill()

    def run(self) -> float:
        """The 99th percentile of a turn's keystrokes, in milliseconds."""
        taken = [nanoseconds / 1e6 for nanoseconds in self._ask(self._texts)]
        self.milliseconds += taken
        return float(np.percentile(taken, 99))

    def peak_bytes(self) -> int:
        """Its largest resident memory so far."""
        return self._ask([])[0]

    def _ask(self, texts: list[str]) -> list[int]:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("a suggesting process must have pipes, got none")
        pipe_in.write(msgspec.json.encode(texts) + b"\n")
        pipe_in.flush()
        return msgspec.json.decode(pipe_out.readline(), type=list[int])


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the processes are given.

    Attributes:
      folder: of the release.
      log: path of the typing log.
      texts: to type.
      tuning: how personal the suggestions are.

    """

    folder: Path
    log: Path
    texts: list[str]
    tuning: Tuning = field(default_factory=Tuning)


def prepare(setting: Setting, folder: Path) -> Prepared:
    """Makes a release where none is given, a log of made-up messages, and texts to type.

    Raises:
      NothingPersonal: see there.

    """
    release_folder = setting.release or folder / "release"
    if setting.release is None:
        # TensorFlow, which exports, stays out of this process.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(make_release, release_folder, setting.shape, setting.seed).result()
    release = open_release(release_folder, read_public_key(release_folder / PUBLIC_KEY_FILE))
    texts = _texts(release.model().vocabulary, setting)
    log_path = folder / "typing_log.sqlite"
    with TypingLog(log_path) as log:
        log.consent = True
        now = time.time()
        log.extend((text, "bench", now) for text in texts)
        tuning = PersonalModel(log).refresh(release.model())
    if not tuning.helps:
        raise NothingPersonal("personalisation must help in the made-up log, got no gain")
    return Prepared(folder=release_folder, log=log_path, texts=texts[: setting.texts_per_turn], tuning=tuning)


def make_release(folder: Path, shape: NetworkShape, seed: int) -> None:
    """Writes a signed release of random weights and made-up words."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it complains about graphics cards that are not there
    from model.export import export_prediction_model

    vocabulary = train_vocabulary(_made_up_words(shape.vocabulary_size, seed), shape.vocabulary_size)
    model = export_prediction_model(initial_weights(shape, seed))
    save_for_measuring(folder, model, Vocabulary(vocabulary), name=NAME)


def _made_up_words(size: int, seed: int) -> dict[str, float]:
    """Distinct words of two to nine letters, with shares that fall as Zipf's law says."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    odds = 1.0 / np.arange(2, len(letters) + 2)
    words: dict[str, float] = {}
    while len(words) < size - NUM_SPECIAL - len(PUNCTUATION):
        word = "".join(generator.choice(letters, generator.integers(2, 10), p=odds / odds.sum()))
        words.setdefault(word, 1.0 / (len(words) + 1))
    return words | dict.fromkeys(PUNCTUATION, 0.01)


def _texts(vocabulary: Vocabulary, setting: Setting) -> list[str]:
    """Messages of frequent words, and one word that no vocabulary has."""
    generator = np.random.default_rng(setting.seed)
    known = [vocabulary.words[index] for index in sorted(vocabulary.target_ids)]
    odds = 1.0 / np.arange(2, len(known) + 2)
    drawn = generator.choice(len(known), (_NUM_LOGGED, setting.words_per_text - 1), p=odds / odds.sum())
    return [" ".join([*(known[index] for index in row), "zzyzzxq"]) for row in drawn]


@contextlib.contextmanager
def typists(prepared: Prepared) -> Iterator[tuple[Typist, Typist]]:
    """Starts both processes, ours first, and ends them."""
    base = [sys.executable, "-m", "evaluation.bench.suggest_worker", str(prepared.folder.resolve()), str(prepared.log)]
    with Typist([*base, "carried"], prepared.texts) as ours, Typist([*base, "recomputed"], prepared.texts) as theirs:
        yield ours, theirs


def run(setting: Setting, *, repeats: int, console: Console) -> Result:
    """Compares the two; the figure is the 99th percentile of a keystroke, in milliseconds.

    Args:
      setting: what both do.
      repeats: turns that count.
      console: shows the progress.

    Raises:
      NothingPersonal: see there.

    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keychorus-bench-")))
        with console.status("preparing release and log"):
            prepared = prepare(setting, folder)
        ours, theirs = stack.enter_context(typists(prepared))
        on_turn = stack.enter_context(progress(NAME, repeats + 1, console))
        result = compare(f"{NAME} p99", "ms", ours, theirs, repeats=repeats, on_turn=on_turn)
        details: dict[str, str | int | float] = {
            "runtime": runtime_name(),
            "threads": 1,
            "keystrokes_a_turn": sum(len(text) + 1 for text in prepared.texts),
            "p50_ms": round(float(np.percentile(ours.milliseconds, 50)), 4),
            "reference_p50_ms": round(float(np.percentile(theirs.milliseconds, 50)), 4),
            "p99_ms_all_turns": round(float(np.percentile(ours.milliseconds, 99)), 4),
            "personal_weight": prepared.tuning.weight,
            "fine_tuned": int(prepared.tuning.fine_tuned),
            "peak_rss_mb": round(ours.peak_bytes() / 1e6, 1),
        }
    return msgspec.structs.replace(result, details=details)
