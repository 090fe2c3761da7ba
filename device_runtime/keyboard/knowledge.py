"""Resources `knowledge`, `switches` and `wipe`: what this keyboard knows, and a person's rule over it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from flask import Blueprint, Response, abort

from device_runtime.keyboard.answers import answer, read_body
from device_runtime.keyboard.device import KeyboardDevice
from device_runtime.rounds.terms import TermsFile
from device_runtime.rounds.terms_in_words import tell_terms
from device_runtime.rounds.votes_in_words import LOOKED_AT, tell_votes
from device_runtime.storage.files import UnusableKey
from device_runtime.typing_log import TypingLog


class Switches(msgspec.Struct, forbid_unknown_fields=True):
    """The switches to set; what is left out stays as it is."""

    consent: bool | None = None
    incognito: bool | None = None
    paused: bool | None = None
    personal: bool | None = None


class Wipe(msgspec.Struct, forbid_unknown_fields=True):
    """A confirmed wish to delete everything; `with_key` the log's key, too."""

    with_key: bool


class Held(msgspec.Struct):
    """What the log holds; times are seconds since 1970."""

    messages: int
    words: int
    num_bytes: int
    oldest_expires_at: float | None


class Done(msgspec.Struct):
    """What was done with it: trainings and reports in numbers, never text."""

    trained: int
    last_trained_at: float | None
    reported: int
    last_reported_at: float | None
    bytes_up: int
    bytes_down: int


class Term(msgspec.Struct):
    """One line of what the population promises, or the owner asks for."""

    about: str
    told: str


class Knowledge(msgspec.Struct):
    """Everything the panel shows."""

    switches: Switches
    held: Held
    done: Done
    model_version: int
    privacy: str
    terms: list[Term]


def knowledge_resource(device: KeyboardDevice) -> Blueprint:
    """Makes the three resources; each answers with the knowledge as it then is."""
    resource = Blueprint("knowledge", __name__)

    @resource.get("/knowledge")
    def read() -> Response:
        with _told_failures("read"):
            return answer(gather(device))

    @resource.post("/switches")
    def switch() -> Response:
        wanted = read_body(Switches)
        with _told_failures("written"):
            set_switches(device.log, wanted)
            return answer(gather(device))

    @resource.post("/wipe")
    def wipe() -> Response:
        wish = read_body(Wipe)
        with _told_failures("wiped"):
            device.wipe(with_key=wish.with_key)
            return answer(gather(device))

    return resource


def gather(device: KeyboardDevice) -> Knowledge:
    """Reads the knowledge as it is now, other processes' changes included.

    Raises:
      sqlite3.Error: the log or the diary cannot be read.
      OSError: nor can the file with the population's terms.

    """
    on = device.log.switches
    return Knowledge(
        switches=Switches(consent=on.consent, incognito=on.incognito, paused=on.paused, personal=on.personal),
        held=_held(device),
        done=_done(device),
        model_version=device.model_version,
        privacy=device.privacy,
        terms=_terms(device),
    )


def set_switches(log: TypingLog, wanted: Switches) -> None:
    """Sets the switches that `wanted` names.

    Raises:
      sqlite3.Error: the log cannot be written.

    """
    for name in Switches.__struct_fields__:
        value = getattr(wanted, name)
        if value is not None:
            setattr(log, name, value)


def _held(device: KeyboardDevice) -> Held:
    counts = device.log.counts()
    expires_at = None if counts.oldest_at is None else counts.oldest_at + device.log.retention_s
    return Held(counts.messages, counts.words, counts.bytes, expires_at)


def _terms(device: KeyboardDevice) -> list[Term]:
    known = TermsFile(device.data_directory / device.population).load()
    return [Term(*fact) for fact in (*tell_terms(known), *tell_votes(device.diary.entries(LOOKED_AT)))]


def _done(device: KeyboardDevice) -> Done:
    totals = device.diary.totals()
    return Done(
        trained=totals.trained,
        last_trained_at=totals.last_trained_at,
        reported=totals.reported,
        last_reported_at=totals.last_reported_at,
        bytes_up=totals.bytes_up,
        bytes_down=totals.bytes_down,
    )


@contextmanager
def _told_failures(what: str) -> Iterator[None]:
    """A disk or database that fails is told in one sentence, without its own words."""
    try:
        yield
    except (sqlite3.Error, OSError, UnusableKey):
        abort(503, f"The typing log could not be {what}.")
