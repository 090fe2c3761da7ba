"""The book of a folder's experiments: settings and figures of each, and its weights."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.table import Table

from device_runtime.storage.files import write_atomically
from evaluation.experiments.settings import Central, Federated, TextSettings, Training
from evaluation.metrics import Accuracy
from protocol.weights import Weights, decode_checkpoint, encode_checkpoint
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

_TEXT, _VOCABULARY, _ENTRY, _WEIGHTS = "text.json", "vocabulary.model", "experiment.json", "weights.safetensors"
UNFINISHED = "unfinished"


class BookError(Exception):
    """A folder that is not a book, or that lacks the experiment that is asked for."""


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Top-1 recall on a few later messages of everybody, after so many rounds."""

    round: int
    top1: float


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came out of an experiment.

    Attributes:
      name: of the experiment.
      training: all its settings.
      later: accuracy on the later messages of the people who trained.
      curve: on the way there.
      seconds: that it took, interruptions left out.

    """

    name: str
    training: Training
    later: Accuracy
    curve: tuple[CurvePoint, ...] = ()
    seconds: float


class Book:
    """A folder with a subfolder for each experiment."""

    def __init__(self, folder: Path):
        """Opens a book that `begin` made.

        Raises:
          BookError: it is none.

        """
        self.folder = folder
        try:
            self.text = msgspec.json.decode((folder / _TEXT).read_bytes(), type=TextSettings)
            self.vocabulary = Vocabulary((folder / _VOCABULARY).read_bytes())
        except (OSError, msgspec.DecodeError, InvalidVocabulary) as error:
            raise BookError(f"{folder} has no experiments: begin with `keychorus experiment begin` ({error})") from None

    @classmethod
    def begin(cls, folder: Path, text: TextSettings, vocabulary: Vocabulary) -> "Book":
        """Makes a book about `text`; where it is one already, about the same text, nothing changes.

        Raises:
          BookError: it is about another text.

        """
        if (folder / _TEXT).exists() and cls(folder).text != text:
            raise BookError(f"{folder} has experiments on other text; take another folder")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _VOCABULARY).write_bytes(vocabulary.model)
        (folder / _TEXT).write_bytes(msgspec.json.encode(text))
        return cls(folder)

    def find(self, name: str) -> Entry | None:
        """An experiment that ended; None if there is none of that name."""
        try:
            return msgspec.json.decode((self.folder / name / _ENTRY).read_bytes(), type=Entry)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise BookError(f"experiment {name} cannot be read: {error}") from None

    def weights(self, name: str) -> Weights:
        """The weights that an experiment ended with.

        Raises:
          BookError: there is none of that name that ended.

        """
        try:
            content = (self.folder / name / _WEIGHTS).read_bytes()
        except FileNotFoundError:
            raise BookError(f"there must be an experiment {name} that ended, and there is none") from None
        return decode_checkpoint(content, self.text.shape.tensors)

    def unfinished(self, name: str, training: Training) -> Path:
        """Where an experiment keeps what it needs to go on; emptied where its settings were others.

        Raises:
          BookError: the experiment ended already.

        """
        if self.find(name) is not None:
            raise BookError(f"experiment {name} ended already; take another name, or remove {self.folder / name}")
        folder = self.folder / name / UNFINISHED
        settings = msgspec.json.encode(training)
        mark = folder / "training.json"
        if not mark.exists() or mark.read_bytes() != settings:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_bytes(settings)
        return folder

    def write(self, entry: Entry, weights: Weights) -> None:
        """Keeps what came out, weights first."""
        folder = self.folder / entry.name
        (folder / _WEIGHTS).write_bytes(encode_checkpoint(weights))
        write_atomically(folder / _ENTRY, msgspec.json.format(msgspec.json.encode(entry), indent=2))
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)

    def entries(self) -> Iterator[Entry]:
        """All experiments that ended, by name."""
        for path in sorted(self.folder.glob(f"*/{_ENTRY}")):
            entry = self.find(path.parent.name)
            if entry is not None:
                yield entry

    def table(self) -> Table:
        """All of them, for the terminal."""
        table = Table(title=f"Experiments in {self.folder}: later messages of people who train", title_justify="left")
        for column in ("name", "training"):
            table.add_column(column)
        for column in ("top-1", "top-3", "keystrokes saved", "perplexity", "minutes"):
            table.add_column(column, justify="right")
        for entry in self.entries():
            later = entry.later
            shares = (f"{100 * share:.2f} %" for share in (later.top1, later.top3, later.keystroke_savings))
            perplexity = "-" if later.perplexity is None else f"{later.perplexity:.1f}"
            table.add_row(entry.name, describe(entry.training), *shares, perplexity, f"{entry.seconds / 60:.0f}")
        return table


def describe(training: Training) -> str:
    """What sets an experiment apart, in a line.

    >>> describe(Central(text="public", epochs=2))
    'central on public, 2 epochs, rate 0.002, batches of 24, seed 1'
    """
    match training:
        case Central():
            after = "" if training.start is None else f" after {training.start}"
            return (
                f"central on {training.text}{after}, {training.epochs} epochs, rate {training.learning_rate:g}, "
                f"batches of {training.batch_size}, seed {training.seed}"
            )
        case Federated():
            noise = training.noise
            promise = "" if noise is None else f", epsilon {noise.epsilon:g} at {noise.cohort} of {noise.devices}"
            public = f" and {training.public_devices} public" if training.public_devices else ""
            server = type(training.optimizer).__name__.removeprefix("Server").lower()
            return (
                f"federated after {training.start}, {training.rounds} rounds of {training.cohort}{public}, "
                f"rate {training.training.learning_rate:g}, {server} {training.optimizer.learning_rate:g}, "
                f"norm {training.l2_clip_norm:g}{promise}, seed {training.seed}"
            )
