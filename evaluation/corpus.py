"""Corpora: who typed what and when. The default ships with a package; anybody's own text comes as JSON lines.

Text read here is for computing with. It is never printed or logged: a message's `repr` leaves it out, and what
`clean` dropped is told as counts.
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec

from tokenizer.text import OVERLONG_WORD, tokenize

CHITCHAT = "chitchat"
"""Name of the corpus that needs no file."""

MAX_IDENTICAL = 3
"""Copies of one text that are kept of a sender: people do say "yes" again, though not hundreds of times."""


class CorpusError(Exception):
    """A corpus that cannot be read. The message names file and line, never what stands there."""


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """One message that somebody typed.

    Attributes:
      user: the sender's pseudonym.
      sent_at: seconds since 1970-01-01 UTC.
      text: what was typed; not part of `repr`, so that a failing test or a traceback does not show it.
      group: of users to which the sender belongs, where a corpus says so.

    """

    user: str
    sent_at: float
    text: str = field(repr=False)
    group: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What is left of a corpus.

    Attributes:
      messages: the kept ones by sender, each sender's by time.
      dropped: how many messages each rule took, by the rule's name, in the order in which rules are applied.

    """

    messages: dict[str, list[Message]]
    dropped: dict[str, int]


class _Chat(msgspec.Struct):
    """A conversation of `chitchat_dataset/dataset.json`: turns of messages."""

    messages: list[list["_ChatMessage"]]


class _ChatMessage(msgspec.Struct):
    text: str
    timestamp: datetime
    sender: str


def load_chitchat() -> list[Message]:
    """Reads the chats of the package `chitchat-dataset` 0.9.0: 258,145 messages of 1,315 senders.

    Conversations in which only one sender ever wrote are left out: nobody answered, and junk was common. They are
    3,150 of 7,168 and hold 15,099 messages; 243,046 messages of 1,196 senders remain.

    Raises:
      ModuleNotFoundError: the package is not installed.
      CorpusError: its file is not of the known form.

    """
    payload = resources.files("chitchat_dataset").joinpath("dataset.json").read_bytes()
    try:
        chats = msgspec.json.decode(payload, type=dict[str, _Chat])
    except msgspec.DecodeError as error:
        raise CorpusError(f"dataset.json of chitchat-dataset is not of the known form: {error}") from None
    return [message for chat in chats.values() for message in _two_sided(chat)]


def _two_sided(chat: _Chat) -> list[Message]:
    said = [Message(row.sender, row.timestamp.timestamp(), row.text) for turn in chat.messages for row in turn]
    return said if len({message.user for message in said}) > 1 else []


class _Row(msgspec.Struct):
    user: str
    sent_at: float | str
    text: str
    group: str = ""


def load_corpus(name: str) -> list[Message]:
    """Reads a corpus by its name on the command line.

    Args:
      name: `chitchat`, see `load_chitchat`; or a file: plain text if it ends in `.txt`, see `load_text`, else
        `load_jsonl`.

    Raises:
      CorpusError: the file cannot be read, or is not of the form that its name says.
      ModuleNotFoundError: `chitchat`, and the package is not installed.

    """
    if name == CHITCHAT:
        return load_chitchat()
    path = Path(name)
    return load_text(path) if path.suffix == ".txt" else load_jsonl(path)


def load_text(path: Path) -> list[Message]:
    """Reads a plain text of one user, called as the file: UTF-8, one message a line, the oldest first.

    Raises:
      CorpusError: the file cannot be read, or is not UTF-8.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path.name} must be a UTF-8 text that can be read: {type(error).__name__}") from None
    return [Message(path.name, float(number), line) for number, line in enumerate(lines) if line.strip()]


def load_jsonl(path: Path) -> list[Message]:
    """Reads a file of `{"user", "sent_at", "text"}` objects, one a line; compressed if its name ends in `.gz`.

    Args:
      path: UTF-8; `sent_at` is in seconds since 1970, or an ISO 8601 date or time (UTC unless it says otherwise).
        An optional `group` names one of the groups that users fall into. Other fields are ignored, empty lines too.

    Raises:
      CorpusError: the file cannot be read, or a line is not such an object.

    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            return [_parse(line, f"{path.name}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path.name} cannot be read: {error}") from None


def _parse(line: bytes, place: str) -> Message:
    try:
        row = msgspec.json.decode(line, type=_Row)
        when = row.sent_at if isinstance(row.sent_at, float) else _parse_time(row.sent_at)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise CorpusError(f'{place} must be {{"user", "sent_at", "text"}} with a number or ISO time') from None
    return Message(row.user, when, row.text, row.group)


def _parse_time(text: str) -> float:
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def clean(messages: Iterable[Message], *, max_per_user: int = 200, min_per_user: int = 20) -> Cleaned:
    """Filters junk, caps every sender and leaves out those who wrote little.

    Args:
      messages: in any order; messages of one sender and one second keep the order in which they come.
      max_per_user: cap after filtering. The earliest are kept: what a person types later then never changes what was
        kept, a kept stretch has no gaps, and it is the one before habits of a chat for points set in.
      min_per_user: senders with fewer messages left are dropped whole.

    Returns:
      The kept messages, and the number dropped by each rule, in this order. Once a sender has `max_per_user` good ones,
      the rest is `over_cap` unread. Measured on `load_chitchat`, of 243,046 messages:

    | rule         | drops                                                                   | messages |
    |--------------|-------------------------------------------------------------------------|----------|
    | no_letters   | no word that holds a letter: emoji, bare numbers, punctuation           | 333      |
    | address      | holds a web address: pasted, not typed                                  | 9        |
    | mashed       | only words as no language has: six letters without a vowel, or overlong | 22       |
    | repeated     | a sender's fourth and further copy of one text, case ignored            | 233      |
    | over_cap     | a sender's messages after the first `max_per_user` good ones            | 176,621  |
    | small_sender | all of a sender with fewer than `min_per_user` messages left            | 4,121    |

    61,707 messages of 615 senders are kept.

    Raises:
      ValueError: `min_per_user` is below 1 or above `max_per_user`.

    """
    if not 1 <= min_per_user <= max_per_user:
        raise ValueError(f"min_per_user must be in [1, {max_per_user}], got {min_per_user}")
    dropped = dict.fromkeys(("no_letters", "address", "mashed", "repeated", "over_cap", "small_sender"), 0)
    kept: dict[str, list[Message]] = {}
    for user, sent in groupby(sorted(messages, key=_BY_USER_AND_TIME), key=attrgetter("user")):
        good = _clean_sender(sent, max_per_user, dropped)
        if len(good) >= min_per_user:
            kept[user] = good
        else:
            dropped["small_sender"] += len(good)
    return Cleaned(messages=kept, dropped=dropped)


_BY_USER_AND_TIME = attrgetter("user", "sent_at")


def _clean_sender(sent: Iterable[Message], max_per_user: int, dropped: dict[str, int]) -> list[Message]:
    """Keeps the first `max_per_user` messages that break no rule, and books the others in `dropped`."""
    copies: Counter[str] = Counter()
    good: list[Message] = []
    for message in sent:
        rule = "over_cap" if len(good) == max_per_user else _broken_rule(message.text, copies)
        if rule is None:
            good.append(message)
        else:
            dropped[rule] += 1
    return good


_ADDRESS = re.compile(r"://|\bwww\.", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_NO_VOWEL = re.compile(r"[b-df-hj-np-tv-xz]{6,}")  # no English word is that long without a vowel, y being one
_OVERLONG_CHARS = 24


def _broken_rule(text: str, copies: Counter[str]) -> str | None:
    """The first rule that `text` breaks; `copies` counts the sender's texts that break no other."""
    words = [token.text for token in tokenize(text) if token.is_word]
    if not any(_LETTER.search(word) for word in words):
        return "no_letters"
    if _ADDRESS.search(text):
        return "address"
    if all(_is_mashed(word) for word in words):
        return "mashed"
    normal = text.strip().lower()
    copies[normal] += 1
    return "repeated" if copies[normal] > MAX_IDENTICAL else None


def _is_mashed(word: str) -> bool:
    return word == OVERLONG_WORD or len(word) > _OVERLONG_CHARS or _NO_VOWEL.fullmatch(word) is not None
