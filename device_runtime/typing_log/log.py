"""The typing log itself: admits, keeps, expires, gives and wipes messages."""

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from device_runtime.clock import Clock
from device_runtime.storage.files import Sealer, UnusableKey
from device_runtime.storage.keys import KeyPlace, KeyStore
from device_runtime.storage.set_aside import files_set_aside, is_full, remove_database, set_aside_at
from device_runtime.typing_log import rows
from device_runtime.typing_log.admission import Admission, FieldKind, refusal
from device_runtime.typing_log.message import (
    Counts,
    LoggedMessage,
    Row,
    clean_message,
    open_message,
    seal_message,
)
from device_runtime.typing_log.sealed_values import SealedValues
from device_runtime.typing_log.switch_board import SwitchBoard
from device_runtime.typing_log.switches import read_switches
from device_runtime.typing_log.vault import Vault, count_unreadable

DEFAULT_RETENTION_S = 60 * 24 * 3600.0
DEFAULT_MAX_BYTES = 20_000_000
"""Of sealed messages: some 130,000 of ordinary length."""

_Result = TypeVar("_Result")
_NOTHING = Counts(0, 0, None, None, 0, 0)
_logger = logging.getLogger(__name__)


class TypingLog(SwitchBoard):
    """A device's log. Usable from several threads and, through one object each, from several processes.

    A damaged database is set aside with a warning and a fresh log begins, without consent. A full disk stops logging:
    what would be written is not, and what is read is what is there.
    """

    def __init__(
        self,
        path: Path,
        key_path: Path | None = None,
        *,
        retention_s: float = DEFAULT_RETENTION_S,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Clock = time.time,
        key_store: KeyStore | None = None,
    ):
        """Opens a log, or begins an empty one without consent.

        Args:
          path: of the database.
          key_path: of the key if it is kept in a file, by default beside the database with the ending `.key`.
          retention_s: messages expire at this age, in seconds.
          max_bytes: the sealed messages together have no more; the oldest go.
          clock: says what time it is.
          key_store: keeps the key; by default the one that the database names, which is a file at first.

        Raises:
          ValueError: `retention_s` or `max_bytes` is not above 0.
          UnusableKey: the key is readable by others, its store cannot be reached, or it is not the log's store.
          sqlite3.OperationalError: the file cannot be opened, or is locked for too long.
          OSError: nor can the directory be written.

        """
        for name, value in (("retention_s", retention_s), ("max_bytes", max_bytes)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        self._retention_s = retention_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._failing: Admission | None = None
        self._vault = Vault(path, key_path, key_store, clock)
        super().__init__(self._vault.file)
        self.path: Final = path
        self.sealed: Final = SealedValues(self._vault)
        """What the device learnt from the messages, encrypted; wiped with them."""
        try:
            self._vault.load_key()
        except (sqlite3.OperationalError, OSError) as error:
            self.close()
            if not is_full(error):
                raise
            self._tell_failure(error)
        except UnusableKey:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self._vault.file.close()

    @property
    def retention_s(self) -> float:
        """The age at which messages expire, in seconds."""
        return self._retention_s

    def append(self, text: str, app: str, at: float | None = None, *, field: FieldKind = FieldKind.TEXT) -> Admission:
        """Offers one message to the log.

        Mail addresses, links and longer numbers are replaced before it is stored, and what is not admitted is not even
        looked at.

        Args:
          text: what was typed; any string.
          app: where it was typed.
          at: when, in seconds since 1970; by default, or if it is not finite, now.
          field: what it was typed into.

        Returns:
          What became of it. A full disk or a log that fails is an answer, too, never an exception.

        Guarantees:
          Once `STORED` is returned the message survives kill -9.

        """
        try:
            why_not = refusal(self.switches, app, field)
            if why_not is None:
                message, words = clean_message(text, app, self._sane(at))
                why_not = self._store([(message, words)], field) if words else Admission.NO_WORDS
        except (sqlite3.Error, OSError, UnusableKey) as error:
            return self._tell_failure(error)
        return why_not or Admission.STORED

    def extend(self, messages: Iterable[tuple[str, str, float]]) -> int:
        """Offers messages (text, app, seconds since 1970), and stores the admitted ones in one transaction.

        Returns:
          How many were admitted: none without consent.

        Raises:
          sqlite3.OperationalError: the log cannot be written; nothing was stored.
          UnusableKey: the key cannot be had.

        """
        switches = self.switches
        admitted = [
            cleaned
            for text, app, at in messages
            if refusal(switches, app, FieldKind.TEXT) is None
            and (cleaned := clean_message(text, app, self._sane(at)))[1] > 0
        ]
        if not admitted or self._store(admitted, FieldKind.TEXT) is not None:
            return 0
        return len(admitted)

    def _store(self, messages: list[tuple[LoggedMessage, int]], field: FieldKind) -> Admission | None:
        """Stores all, or none and why: in the same transaction it asks again whether the first may be stored."""
        kept = rows.lifetime(self._clock(), self._retention_s)

        def work(connection: sqlite3.Connection, sealer: Sealer) -> Admission | None:
            if why_not := refusal(read_switches(connection), messages[0][0].app, field):
                return why_not
            sealed: list[Row] = [seal_message(message, words, sealer) for message, words in messages]
            rows.insert(connection, sealed)
            rows.delete_expired(connection, kept)
            rows.evict(connection, self._max_bytes)
            return None

        why_not = self._vault.write(work)
        if self._failing is not None:
            self._failing = None
            _logger.warning("the typing log can be written again")
        return why_not

    def _sane(self, at: float | None) -> float:
        return at if at is not None and math.isfinite(at) else self._clock()

    def _tell_failure(self, error: Exception) -> Admission:
        """Warns once until the log works again; names the error but not its words."""
        admission = Admission.DISK_FULL if is_full(error) else Admission.FAILED
        if self._failing is not admission:
            self._failing = admission
            code = getattr(error, "sqlite_errorname", None) or type(error).__name__
            _logger.warning("the typing log cannot be written, so nothing is logged: %s (%s)", admission, code)
        return admission

    def messages(self, max_words: int) -> list[LoggedMessage]:
        """The newest messages that together have at most `max_words` words, oldest first; none without consent.

        Rows that are damaged are deleted, counted as unreadable, and left out.

        Raises:
          sqlite3.OperationalError: the log cannot be read.
          UnusableKey: the key cannot be had.

        """
        if not self.consent:
            return []
        self.expire()
        kept = rows.lifetime(self._clock(), self._retention_s)
        opened = self._vault.read(
            lambda connection, sealer: {
                row.row_id: open_message(row.sealed, row.at, sealer) for row in rows.newest(connection, kept, max_words)
            }
        )
        self._drop_unreadable([row_id for row_id, message in opened.items() if message is None])
        return [message for message in opened.values() if message is not None]

    def _drop_unreadable(self, row_ids: list[int]) -> None:
        if not row_ids:
            return

        def work(connection: sqlite3.Connection) -> None:
            rows.delete(connection, row_ids)
            count_unreadable(connection, len(row_ids))

        _logger.warning("%d messages of the typing log are unreadable and are deleted", len(row_ids))
        self._write_if_room(work)

    def _write_if_room(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result | None:
        """Tidies up; on a full disk that waits, since deleting takes room for a journal."""
        try:
            return self._vault.file.write(work)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            return None

    def export(self) -> Iterator[LoggedMessage]:
        """All messages that can be read, oldest first, with or without consent: they are the person's own.

        Raises:
          sqlite3.OperationalError: the log cannot be read.
          UnusableKey: the key cannot be had.

        """
        self.expire()
        kept = rows.lifetime(self._clock(), self._retention_s)
        opened = self._vault.read(
            lambda connection, sealer: [
                open_message(row.sealed, row.at, sealer) for page in rows.pages(connection, kept) for row in page
            ]
        )
        yield from (message for message in opened if message is not None)

    def counts(self) -> Counts:
        """How much is held, without reading any of it; nothing if the disk is too full to begin a log.

        Raises:
          sqlite3.OperationalError: the log cannot be read.

        """
        try:
            self.expire()
            return self._vault.file.read(rows.count)
        except (sqlite3.OperationalError, OSError) as error:
            if not is_full(error):
                raise
            return _NOTHING

    def expire(self) -> int:
        """Deletes what is older than the retention, and says how many messages that were. Runs by itself.

        What was set aside as damaged holds old messages, too, and goes at the same age.

        Raises:
          sqlite3.OperationalError: the log cannot be read or written, other than for a full disk.

        """
        kept = rows.lifetime(self._clock(), self._retention_s)
        for aside in files_set_aside(self.path):
            if not kept.earliest <= (set_aside_at(aside) or 0.0) <= kept.latest:
                remove_database(aside)
        if not self._vault.file.read(lambda connection: rows.has_expired(connection, kept)):
            return 0
        return self._write_if_room(lambda connection: rows.delete_expired(connection, kept)) or 0

    def wipe(self, *, with_key: bool = False) -> None:
        """Deletes all messages, sealed values and damaged files for good; the switches and the deny list stay.

        Args:
          with_key: delete the key as well, so that no copy of the file can ever be read; a new one is made when needed.

        Raises:
          UnusableKey: the key store cannot be reached; nothing was deleted.
          sqlite3.OperationalError: another process holds the log for too long.
          OSError: the directory cannot be written.

        """
        self._vault.wipe(with_key=with_key)

    @property
    def key_place(self) -> KeyPlace:
        """Where the key is kept."""
        return self._vault.key_place

    def files_set_aside(self) -> list[Path]:
        """Damaged databases that wait beside the log, oldest first."""
        return files_set_aside(self.path)
