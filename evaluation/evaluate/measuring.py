"""Answers of all contestants, part by part, in several processes, each part kept so that none is asked for twice."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import msgspec
import numpy as np

from device_runtime.storage.files import write_atomically
from evaluation.answers import Answers
from evaluation.evaluate.asking import ask, time_keystrokes
from evaluation.evaluate.contestants import Answerer, Contestant, Ground, Kind, identity, open_contestant
from evaluation.evaluate.people import Person, cut
from evaluation.predictors import Predictor
from evaluation.targets import SuggestionIndex
from evaluation.workers import Workers
from tokenizer.vocabulary import Vocabulary

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows a progress bar with a title and a number of steps; gives what moves it on by one."""

PART_WORDS = 2_000
"""Words of a part: seconds of work."""
_FORMAT = 1
"""Of what is kept; another one is as good as nothing."""


class Asker:
    """Opens contestants and asks them, in the process that it lives in. It keeps one open at a time."""

    def __init__(self, ground: Ground):
        """Takes what contestants share."""
        self._ground = ground
        self._vocabulary = Vocabulary(ground.vocabulary)
        self._index = SuggestionIndex(self._vocabulary)
        self._opened: tuple[Contestant, Answerer] | None = None

    def open(self, contestant: Contestant, on_progress: Callable[[str], None] = lambda _: None) -> Answerer:
        """Opens a contestant, unless it is the one that is open.

        Raises:
          UnknownPredictor: it cannot be opened.

        """
        if self._opened is None or self._opened[0] != contestant:
            self._opened = None  # frees its memory before the next one takes more
            self._opened = (contestant, open_contestant(contestant, self._ground, on_progress))
        return self._opened[1]

    def ask(self, contestant: Contestant, people: Sequence[Person]) -> Answers:
        """See `evaluation.evaluate.asking.ask`."""
        return ask(self.open(contestant), people, self._index, self._vocabulary)

    def time(self, contestant: Contestant, people: Sequence[Person], keystrokes: int) -> list[float]:
        """See `evaluation.evaluate.asking.time_keystrokes`."""
        return time_keystrokes(self.open(contestant), people, self._index, self._vocabulary, keystrokes)


class Asked(Protocol):
    """Whoever asks for several parts, and gives each answer as soon as it is there."""

    def __call__(self, contestant: Contestant, parts: Sequence[Sequence[Person]]) -> Iterator[tuple[int, Answers]]:
        """Gives the position of a part and its answers, in any order."""
        ...


@contextmanager
def open_askers(asker: Asker, ground: Ground, processes: int) -> Iterator[Asked]:
    """Askers in `processes` processes, or `asker` itself if that is 0; ended with the block."""
    if processes == 0:
        yield lambda contestant, parts: ((number, asker.ask(contestant, part)) for number, part in enumerate(parts))
        return
    with Workers(processes, begin=_begin, arguments=(ground,)) as workers:

        def asked(contestant: Contestant, parts: Sequence[Sequence[Person]]) -> Iterator[tuple[int, Answers]]:
            numbers: dict[Future[Answers], int] = {
                workers.submit(_ask_here, contestant, part): number for number, part in enumerate(parts)
            }
            yield from ((numbers[done], done.result()) for done in as_completed(numbers))

        yield asked


_here: list[Asker] = []
"""The asker of a worker process, set once when it begins."""


def _begin(ground: Ground) -> None:
    _here.append(Asker(ground))


def _ask_here(contestant: Contestant, people: Sequence[Person]) -> Answers:
    return _here[0].ask(contestant, people)


class Kept:
    """Answers and times in a folder. Neither holds a word, or tells which was typed."""

    def __init__(self, folder: Path):
        """Takes the folder, which is made when something is kept."""
        self._folder = folder

    def find(self, key: str) -> Answers | None:
        """Answers that were kept under `key`."""
        try:
            with (self._folder / f"{key}.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return Answers(**arrays)
        except (FileNotFoundError, BadZipFile, TypeError, ValueError, EOFError):  # or of an earlier format
            return None

    def keep(self, key: str, answers: Answers) -> None:
        """Keeps answers, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stream = BytesIO()
        np.savez_compressed(stream, **asdict(answers))
        write_atomically(self._folder / f"{key}.npz", stream.getvalue(), durable=False)

    def times(self, key: str, measure: Callable[[], list[float]]) -> list[float]:
        """Times that were kept under `key`, or what `measure` takes now."""
        path = self._folder / f"{key}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[float])
        except (FileNotFoundError, msgspec.DecodeError):
            times = measure()
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(times))
        return times


class Measurer:
    """Gets answers: those that are kept, the others from contestants."""

    def __init__(self, asker: Asker, asked: Asked, ground: Ground, kept: Kept, bar: Bar):
        """Takes who asks here, who asks for many parts, what contestants share, the store and a progress bar."""
        self._asker, self._asked, self._ground, self._kept, self._bar = asker, asked, ground, kept, bar
        self._identities: dict[Contestant, bytes] = {}
        self._typed: dict[Contestant, bool] = {}

    def answers(self, contestant: Contestant, people: Sequence[Person]) -> Answers:
        """A contestant's answers to all of `people`, in their order.

        Raises:
          UnknownPredictor: it cannot be opened.
          InvalidScores: it gave no numbers.

        """
        parts = cut(people, PART_WORDS)
        keys = [self._key(contestant, part) for part in parts]
        found = {number: answers for number, key in enumerate(keys) if (answers := self._kept.find(key)) is not None}
        missing = [number for number in range(len(parts)) if number not in found]
        if missing:
            self._train(contestant)
            with self._bar(contestant.name, len(missing)) as on_part:
                for place, answers in self._asked(contestant, [parts[number] for number in missing]):
                    found[missing[place]] = answers
                    self._kept.keep(keys[missing[place]], answers)
                    on_part()
        return _in_order(parts, found)

    def _train(self, contestant: Contestant) -> None:
        """Trains a baseline here once, so that several processes do not all train the same one."""
        if contestant.kind is not Kind.BASELINE:
            return
        with ExitStack() as shown:

            def tell(doing: str) -> None:
                shown.close()
                shown.enter_context(self._bar(doing, 1))

            tell(f"opening {contestant.name}")
            self._asker.open(contestant, tell)

    def types_key_by_key(self, contestant: Contestant) -> bool:
        """Whether it gives suggestions only, and so has to be asked key by key; a baseline is opened to see that.

        Raises:
          AbsentPredictor: it is not installed.
          UnknownPredictor: it cannot be opened.

        """
        if contestant not in self._typed:
            self._train(contestant)
            self._typed[contestant] = contestant.kind is Kind.PERSONALISED or (
                contestant.kind is Kind.BASELINE and not isinstance(self._asker.open(contestant), Predictor)
            )
        return self._typed[contestant]

    def milliseconds(self, contestant: Contestant, people: Sequence[Person], keystrokes: int) -> list[float]:
        """Times of single keystrokes, in this process."""
        key = f"times-{keystrokes}-{self._key(contestant, people[:1])}"
        return self._kept.times(key, lambda: self._asker.time(contestant, people, keystrokes))

    def _key(self, contestant: Contestant, people: Sequence[Person]) -> str:
        if contestant not in self._identities:
            self._identities[contestant] = identity(contestant, self._ground)
        digest = hashlib.sha256(b"%d\n" % _FORMAT + self._identities[contestant])
        for person in people:
            for message in (*person.earlier, None, *person.later, None):
                text = b"" if message is None else f"{message.sent_at} {message.text}".encode()
                digest.update(hashlib.sha256(text).digest())
        return digest.hexdigest()[:24]


def _in_order(parts: Sequence[Sequence[Person]], found: dict[int, Answers]) -> Answers:
    """Joins the parts' answers; users are numbered through."""
    shifted, first = [], 0
    for number, part in enumerate(parts):
        shifted.append(replace(found[number], user=found[number].user + first))
        first += len(part)
    return Answers.join(shifted)
