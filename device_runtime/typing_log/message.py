"""One typed message: how it is cleaned, sealed and opened again."""

import struct
from typing import NamedTuple

import msgspec

from device_runtime.storage.files import Sealer, UnreadableData
from device_runtime.typing_log.scrub import scrub
from device_runtime.typing_log.switches import clean_app
from tokenizer.text import tokenize

MAX_MESSAGE_CHARS = 10_000
"""A longer message is cut: it was pasted, and must not push everything else out of the log."""


class LoggedMessage(msgspec.Struct, frozen=True):
    """One typed message: its scrubbed text, the app it was typed in, and when (seconds since 1970)."""

    text: str
    app: str
    at: float

    def __repr__(self) -> str:
        """Never the text: a representation ends up in logs and tracebacks."""
        return f"LoggedMessage(at={self.at})"


class Counts(NamedTuple):
    """What the log holds, in numbers.

    Attributes:
      messages: number of messages.
      words: number of their words.
      oldest_at: when the oldest was typed, in seconds since 1970; None if there is none.
      newest_at: when the newest was.
      bytes: of the sealed messages and sealed values together; the file is somewhat larger.
      unreadable: messages that were deleted since the last wipe because nothing could open them any more.

    """

    messages: int
    words: int
    oldest_at: float | None
    newest_at: float | None
    bytes: int
    unreadable: int


class Row(NamedTuple):
    """A message as the database keeps it."""

    at: float
    words: int
    sealed: bytes


def clean_message(text: str, app: str, at: float) -> tuple[LoggedMessage, int]:
    """The message as it may be stored, and how many words it has.

    Mail addresses, links and longer numbers become placeholders first and the text is cut then, so that no half of one
    is left at the cut.
    """
    message = LoggedMessage(scrub(text)[:MAX_MESSAGE_CHARS], clean_app(app), at)
    return message, sum(token.is_word for token in tokenize(message.text))


def seal_message(message: LoggedMessage, words: int, sealer: Sealer) -> Row:
    """Encrypts a message; its time and its number of words stay in the clear."""
    return Row(message.at, words, sealer.seal(msgspec.json.encode(message), _context(message.at)))


def open_message(sealed: bytes, at: float, sealer: Sealer) -> LoggedMessage | None:
    """Decrypts a row; None if it is damaged, or sealed by a key that is gone."""
    try:
        return msgspec.json.decode(sealer.open(sealed, _context(at)), type=LoggedMessage)
    except (UnreadableData, msgspec.DecodeError):
        return None


def _context(at: float) -> bytes:
    """Binds a row's text to its time, so that an old row cannot be made to look new."""
    return b"keychorus/typing-log/v1\n" + struct.pack("<d", at)
