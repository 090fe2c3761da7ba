"""What personalisation does for people: their last messages typed again, key by key, on the real device runtime.

Each person gets a typing log with their earlier messages in it; personalisation is tuned on it as a device does. Then
the later messages are typed twice: with the shared model alone, and with personalisation that goes on learning after
each message. Nothing of the later ones is known before they are typed.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from device_runtime.releases.release import Release
from device_runtime.suggestions.personal import PersonalModel, Tuning
from device_runtime.suggestions.predictor import Predictor
from device_runtime.typing_log import TypingLog
from evaluation.corpus import Message
from evaluation.metrics import UserCounts
from evaluation.split import split_by_time
from evaluation.typist import type_word
from tokenizer.text import OVERLONG_WORD, tokenize


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """How well suggestions served, as `evaluation.metrics.Accuracy` defines it; unknown words count as missed."""

    top1: float
    top3: float
    keystroke_savings: float
    words: int

    @classmethod
    def of(cls, counts: UserCounts) -> "Typed":
        """Shares from sums.

        Raises:
          ValueError: there is no word.

        """
        if counts.num_targets == 0:
            raise ValueError("accuracy needs at least 1 word, got 0")
        return cls(
            top1=counts.top1_hits / counts.num_targets,
            top3=counts.top3_hits / counts.num_targets,
            keystroke_savings=counts.keystrokes_saved / counts.keystrokes,
            words=counts.num_targets,
        )


class Help(msgspec.Struct, frozen=True, kw_only=True):
    """The result, over all people together, and how many of them it is better or worse for.

    Attributes:
      name: of the measurement.
      value: share of words among the three suggestions before a letter was typed, with personalisation.
      unit: of `value`.
      reference: likewise, without.
      ratio: of the two.
      people: that were tried.
      personal: accuracy with personalisation.
      shared: accuracy without.
      worse_for: share of people for whom top-1, top-3 and keystroke savings fell.
      better_for: share for whom they rose.
      switched_on_for: share of people for whom tuning found any help.
      fine_tuned_for: share for whom fine-tuned weights were kept.

    """

    name: str = "personalisation"
    value: float
    unit: str = "top-3 recall"
    reference: float
    ratio: float
    people: int
    personal: Typed
    shared: Typed
    worse_for: dict[str, float]
    better_for: dict[str, float]
    switched_on_for: float
    fine_tuned_for: float


class Person(NamedTuple):
    """One person's counts without and with personalisation, and what tuning found."""

    shared: UserCounts
    personal: UserCounts
    tuning: Tuning


def measure(
    release: Release, people: Mapping[str, Sequence[Message]], *, on_person: Callable[[], None] = lambda: None
) -> Help:
    """Measures personalisation.

    Args:
      release: to suggest with.
      people: messages by person, by time, at least two each; none of them was trained on.
      on_person: called after each person, for a progress bar.

    Raises:
      ValueError: nobody typed anything.

    """
    found = []
    for messages in people.values():
        found.append(measure_person(release, messages))
        on_person()
    personal, shared = (
        Typed.of(sum((getattr(person, side) for person in found), start=UserCounts()))
        for side in ("personal", "shared")
    )
    return Help(
        value=personal.top3,
        reference=shared.top3,
        ratio=personal.top3 / shared.top3 if shared.top3 else float("nan"),
        people=len(found),
        personal=personal,
        shared=shared,
        worse_for=_share_of(found, lambda ours, theirs: ours < theirs),
        better_for=_share_of(found, lambda ours, theirs: ours > theirs),
        switched_on_for=sum(person.tuning.helps for person in found) / len(found),
        fine_tuned_for=sum(person.tuning.fine_tuned for person in found) / len(found),
    )


def _share_of(people: Sequence[Person], holds: Callable[[int, int], bool]) -> dict[str, float]:
    """The share of people for whom `holds(with, without)`, by measure."""
    measures = {"top1": "top1_hits", "top3": "top3_hits", "keystroke_savings": "keystrokes_saved"}
    return {
        name: sum(holds(getattr(each.personal, field), getattr(each.shared, field)) for each in people) / len(people)
        for name, field in measures.items()
    }


def measure_person(release: Release, messages: Sequence[Message]) -> Person:
    """Replays one person's earlier messages as a log, and types the later ones."""
    earlier, later = split_by_time(messages)
    with tuned_on(release, earlier, now=later[0].sent_at) as (personal, tuning):
        shared = _type_all(release.predictor(), later, lambda _: None)
        with_personal = _type_all(release.predictor(personal=personal), later, personal.learn)
    return Person(shared, with_personal, tuning)


@contextmanager
def tuned_on(release: Release, earlier: Iterable[Message], *, now: float) -> Iterator[tuple[PersonalModel, Tuning]]:
    """A person's model after a log of `earlier` messages, tuned as a device does; the log is gone afterwards.

    Args:
      release: to suggest with.
      earlier: messages of the log, by time.
      now: seconds since 1970: the log's own time, so that nothing of a chat of years ago has expired.

    """
    with (
        tempfile.TemporaryDirectory(prefix="keychorus-person-") as folder,
        TypingLog(Path(folder) / "typing_log.sqlite", retention_s=1e10, clock=lambda: now) as log,
    ):
        log.consent = True
        log.extend((message.text, "chat", message.sent_at) for message in earlier)
        personal = PersonalModel(log)
        yield personal, personal.refresh(release.model())


def _type_all(predictor: Predictor, messages: Sequence[Message], learn: Callable[[str], None]) -> UserCounts:
    counts = UserCounts()
    for message in messages:
        predictor.reset()
        counts += type_message(predictor, message.text)
        learn(message.text)
    return counts


def type_message(predictor: Predictor, text: str) -> UserCounts:
    """Types a message key by key, and takes the right word as soon as it shows; see `evaluation.metrics.Accuracy`."""
    counts = UserCounts()
    before = ""
    for token in tokenize(text):
        if token.is_word and token.text != OVERLONG_WORD:
            counts += _type_word(predictor, before, token.surface)
        before += token.surface + " "
    return counts


def _type_word(predictor: Predictor, before: str, word: str) -> UserCounts:
    rank, letters = type_word(word, lambda prefix: [each.word for each in predictor.suggest(before + prefix)])
    return UserCounts(
        num_targets=1,
        top1_hits=int(rank == 0),
        top3_hits=int(rank is not None),
        keystrokes=len(word) + 1,
        keystrokes_saved=len(word) - letters,
    )


def print_help(found: Help, console: Console) -> None:
    """Prints a result as a table."""
    table = Table(title=f"{found.name}, {found.people} people, {found.shared.words} words", title_justify="left")
    for column in ("", "shared model", "personalised", "better for", "worse for"):
        table.add_column(column, justify="right" if column else "left")
    for measure_name in found.worse_for:
        shared, personal = getattr(found.shared, measure_name), getattr(found.personal, measure_name)
        shares = (shared, personal, found.better_for[measure_name], found.worse_for[measure_name])
        table.add_row(measure_name, *(f"{share:.1%}" for share in shares))
    console.print(table)
    console.print(f"on for {found.switched_on_for:.0%} of people, fine-tuned weights for {found.fine_tuned_for:.0%}")
