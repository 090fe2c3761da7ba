"""The typing log: what was typed, message by message, encrypted, expiring, on this device only.

SQLite holds the rows; text and app are sealed with AES-256-GCM under a key outside the database. In the clear are only
the time of a message and its number of words, which expiry and the training cap need.
"""

import sqlite3
import struct
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from device_runtime.environment import Clock
from device_runtime.scrub import scrub
from device_runtime.storage import Sealer, UnreadableData, private_directory
from tokenizer.text import tokenize

DEFAULT_RETENTION_S = 60 * 24 * 3600.0
_LONGEST_LEAD_S = 24 * 3600.0
_EARLIEST_PLAUSIBLE_NOW = 1_672_531_200.0  # 2023: a clock before that was never set

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, at REAL NOT NULL, words INTEGER NOT NULL,
                                     sealed BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (at);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


class LoggedMessage(msgspec.Struct, frozen=True):
    """One typed message: its scrubbed text, the app it was typed in, and when (seconds since 1970)."""

    text: str
    app: str
    at: float

    def __repr__(self) -> str:
        """Never the text: a representation ends up in logs and tracebacks."""
        return f"LoggedMessage(at={self.at})"


class Counts(NamedTuple):
    """What the log holds, in numbers."""

    messages: int
    words: int
    oldest_at: float | None


class TypingLog:
    """A device's log. Usable from several threads and, as SQLite is, from several processes."""

    def __init__(
        self,
        path: Path,
        key_path: Path | None = None,
        *,
        retention_s: float = DEFAULT_RETENTION_S,
        clock: Clock = time.time,
    ):
        """Opens a log, or begins an empty one without consent.

        Args:
          path: of the database.
          key_path: of the key, by default beside the database with the ending `.key`.
          retention_s: messages expire at this age, in seconds.
          clock: says what time it is.

        Raises:
          UnusableKey: the key file is damaged or readable by others.
          sqlite3.DatabaseError: the file is no database.

        """
        self._sealer = Sealer(key_path or path.with_suffix(".key"))
        self._retention_s = retention_s
        self._clock = clock
        self._lock = threading.Lock()
        private_directory(path.parent)
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=10)
        path.chmod(0o600)
        self._database.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten, not only unlinked
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    @property
    def consent(self) -> bool:
        """Whether the person switched logging on; off until then."""
        with self._lock:
            row = self._database.execute("SELECT value FROM settings WHERE name = 'consent'").fetchone()
        return bool(row and row[0])

    @consent.setter
    def consent(self, given: bool) -> None:
        with self._lock, self._database:
            self._database.execute("INSERT OR REPLACE INTO settings VALUES ('consent', ?)", (int(given),))

    def append(self, text: str, app: str, at: float | None = None) -> bool:
        """Stores one message if there is consent; see `extend`."""
        return self.extend([(text, app, self._clock() if at is None else at)]) == 1

    def extend(self, messages: Iterable[tuple[str, str, float]]) -> int:
        """Stores messages (text, app, seconds since 1970) in one transaction.

        Mail addresses, links and longer numbers are replaced first; messages without a word are left out.

        Returns:
          How many were stored: none without consent.

        """
        if not self.consent:
            return 0
        rows = [row for text, app, at in messages if (row := self._row(scrub(text), app, at)) is not None]
        with self._lock, self._database:
            self._database.executemany("INSERT INTO messages (at, words, sealed) VALUES (?, ?, ?)", rows)
        self.expire()
        return len(rows)

    def _row(self, text: str, app: str, at: float) -> tuple[float, int, bytes] | None:
        words = sum(token.is_word for token in tokenize(text))
        if words == 0:
            return None
        content = msgspec.json.encode(LoggedMessage(text, app, at))
        return at, words, self._sealer.seal(content, _context(at))

    def messages(self, max_words: int) -> list[LoggedMessage]:
        """The newest messages that together have at most `max_words` words, oldest first; none without consent.

        Rows that are damaged, or that were written with another key, are deleted and left out.
        """
        if not self.consent:
            return []
        self.expire()
        with self._lock:
            rows = self._database.execute(
                "SELECT id, at, sealed FROM"
                " (SELECT *, sum(words) OVER (ORDER BY at DESC, id DESC) AS total FROM messages)"
                " WHERE total <= ? ORDER BY at, id",
                (max_words,),
            ).fetchall()
        opened = {row_id: self._open(sealed, at) for row_id, at, sealed in rows}
        self._delete([row_id for row_id, message in opened.items() if message is None])
        return [message for message in opened.values() if message is not None]

    def _open(self, sealed: bytes, at: float) -> LoggedMessage | None:
        """One row; None if it is damaged, or sealed by a key that is gone."""
        try:
            return msgspec.json.decode(self._sealer.open(sealed, _context(at)), type=LoggedMessage)
        except (UnreadableData, msgspec.DecodeError):
            return None

    def _delete(self, row_ids: list[int]) -> None:
        with self._lock, self._database:
            self._database.executemany("DELETE FROM messages WHERE id = ?", [(row_id,) for row_id in row_ids])

    def counts(self) -> Counts:
        """How much is held, without reading any of it."""
        self.expire()
        with self._lock:
            row = self._database.execute("SELECT count(*), coalesce(sum(words), 0), min(at) FROM messages").fetchone()
        return Counts(*row)

    def expire(self) -> int:
        """Deletes what is older than the retention, and says how many messages that were. Runs by itself.

        A message from more than a day ahead was stamped by a clock that has jumped, and would outlive the retention: it
        expires, too, but not by a clock that was never set, or a board that wakes up in 1970 would empty its log.
        """
        now = self._clock()
        latest = now + _LONGEST_LEAD_S if now >= _EARLIEST_PLAUSIBLE_NOW else float("inf")
        with self._lock, self._database:
            cursor = self._database.execute(
                "DELETE FROM messages WHERE at < ? OR at > ?", (now - self._retention_s, latest)
            )
        return cursor.rowcount

    def wipe(self) -> None:
        """Deletes all messages for good; consent stays as it is."""
        with self._lock:
            with self._database:
                self._database.execute("DELETE FROM messages")
            self._database.execute("VACUUM")


def _context(at: float) -> bytes:
    """Binds a row's text to its time, so that an old row cannot be made to look new."""
    return b"keychorus/typing-log/v1\n" + struct.pack("<d", at)
