"""The log's database together with its key: every use is handed a key that is known to fit the rows.

The database keeps a fingerprint of the key, so that a process whose key was lost, replaced or wiped by another one
notices before it seals a row that nobody could open again.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from device_runtime.storage.files import Sealer, UnusableKey
from device_runtime.storage.keys import KeyPlace, KeyStore, key_store, load_or_make_key
from device_runtime.storage.set_aside import files_set_aside, is_full, remove_database
from device_runtime.storage.sqlite_file import SqliteFile
from device_runtime.typing_log import sealed_values, switches
from device_runtime.typing_log.switches import read_setting, write_setting

_FINGERPRINT = "key_fingerprint"
_IN_KEYRING = "key_in_keyring"
UNREADABLE = "unreadable"
"""Setting: how many messages were deleted because nothing could open them."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, at REAL NOT NULL, words INTEGER NOT NULL,
                                     sealed BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (at);
{switches.SCHEMA}
{sealed_values.SCHEMA}
"""
_AFTER_DAMAGE = "a fresh log begins, with logging off and an empty deny list"

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)


class _OtherKey(UnusableKey):
    """The rows are sealed with another key than this process has."""


class Vault:
    """The database of a typing log and the key to it. Usable from several threads and processes."""

    def __init__(self, path: Path, key_path: Path | None, chosen: KeyStore | None, clock: Callable[[], float]):
        """Describes a vault; nothing is opened yet.

        Args:
          path: of the database.
          key_path: of the key if it is kept in a file; None for beside the database.
          chosen: where the key is kept; None for where the database says, which is a file at first.
          clock: seconds since 1970.

        """
        self.file = SqliteFile(path, _SCHEMA, clock=clock, after_damage=_AFTER_DAMAGE)
        self._key_path = key_path
        self._chosen = chosen
        self._sealer: Sealer | None = None

    def read(self, work: Callable[[sqlite3.Connection, Sealer], _Result]) -> _Result:
        """As `SqliteFile.read`, with the key.

        Raises:
          UnusableKey: the key store cannot be reached, or is not safe.
          sqlite3.OperationalError: as `SqliteFile.read`.
          OSError: as `SqliteFile.read`.

        """
        return self._with_key(self.file.read, work)

    def write(self, work: Callable[[sqlite3.Connection, Sealer], _Result]) -> _Result:
        """As `SqliteFile.write`, with the key; raises what `read` does."""
        return self._with_key(self.file.write, work)

    def _with_key(
        self,
        run: Callable[[Callable[[sqlite3.Connection], _Result]], _Result],
        work: Callable[[sqlite3.Connection, Sealer], _Result],
    ) -> _Result:
        def checked(connection: sqlite3.Connection) -> _Result:
            sealer = self._sealer
            if sealer is None or read_setting(connection, _FINGERPRINT) != sealer.fingerprint:
                raise _OtherKey
            return work(connection, sealer)

        try:
            return run(checked)
        except _OtherKey:
            with self.file.exclusively():  # so that nobody changes the key in between
                self.load_key()
                return run(checked)

    def load_key(self) -> None:
        """Loads the key that the store has now, and makes one if it has none.

        Rows that another key sealed are deleted and counted as unreadable, with a warning.

        Raises:
          UnusableKey: the key store cannot be reached, is not safe, or is not where the key of the messages is.
          sqlite3.OperationalError: as `SqliteFile.read`.
          OSError: as `SqliteFile.read`.

        """
        with self.file.exclusively():
            store = self._store()
            sealer = Sealer(load_or_make_key(store))
            lost = self.file.write(lambda connection: _adopt(connection, sealer.fingerprint, store.place))
            self._sealer = sealer
        if lost:
            _logger.warning("the key of %s was lost; %d messages are unreadable and were deleted", self.file.path, lost)

    @property
    def key_place(self) -> KeyPlace:
        """Where the key is kept, as the database says."""
        return self._kept_store().place

    def wipe(self, *, with_key: bool) -> int:
        """Deletes messages, sealed values and files set aside for good; the person's switches stay.

        Args:
          with_key: delete the key, too. It goes first: were the rest to fail, nothing could be read all the same.

        Returns:
          How many messages that were.

        Guarantees:
          Nothing of a sealed row is left in the database or beside it. Neither a key that cannot be had nor a full disk
          stands in the way.

        Raises:
          UnusableKey: the key store cannot be reached; nothing was deleted.
          sqlite3.OperationalError: another process holds the log for too long.
          OSError: the directory cannot be written.

        """
        with self.file.exclusively():
            held = self.file.read(lambda connection: connection.execute("SELECT count(*) FROM messages").fetchone()[0])
            if with_key:
                self._kept_store().delete()
                self._sealer = None
            try:
                self.file.write(lambda connection: _delete_all(connection, with_key=with_key))
                self.file.read(lambda connection: connection.execute("VACUUM"))
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self._replace(with_key=with_key)  # even deleting takes room for a journal
            for aside in files_set_aside(self.file.path):
                remove_database(aside)
        return int(held)

    def _replace(self, *, with_key: bool) -> None:
        """Deletes the file itself and takes the settings over into the next one, if there is room for it now."""

        def settings(connection: sqlite3.Connection) -> list[tuple[str, int]]:
            forgotten = (_FINGERPRINT, _IN_KEYRING, UNREADABLE) if with_key else (UNREADABLE,)
            rows = connection.execute("SELECT name, value FROM settings").fetchall()
            return [(name, value) for name, value in rows if name not in forgotten]

        kept, deny_list = self.file.read(lambda each: (settings(each), switches.read_switches(each).deny_list))
        self.file.discard()

        def restore(connection: sqlite3.Connection) -> None:
            for name, value in kept:
                write_setting(connection, name, value)
            switches.write_deny_list(connection, deny_list)

        try:
            self.file.write(restore)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            _logger.warning("the disk is full: the log was wiped together with its switches, so logging is off")

    def _store(self) -> KeyStore:
        """Where the key is kept, or will be.

        Raises:
          UnusableKey: the person chose another place than where the key of the present messages is.

        """
        kept = self._kept_store()
        if self._chosen is None or self._chosen.place is kept.place:
            return self._chosen or kept
        if not self.file.read(_is_empty):
            raise UnusableKey(
                f"the key of {self.file.path} is in the key store `{kept.place}`, got `{self._chosen.place}`; "
                "an empty log can change it"
            )
        return self._chosen

    def _kept_store(self) -> KeyStore:
        in_keyring = bool(self.file.read(lambda connection: read_setting(connection, _IN_KEYRING)))
        place = KeyPlace.KEYRING if in_keyring else KeyPlace.FILE
        if self._chosen is not None and self._chosen.place is place:
            return self._chosen
        return key_store(place, self.file.path, self._key_path)


def _adopt(connection: sqlite3.Connection, fingerprint: int, place: KeyPlace) -> int:
    """Makes the key the log's own; returns how many messages of another key were deleted."""
    before = read_setting(connection, _FINGERPRINT)
    if before == fingerprint:
        return 0
    lost = 0
    if before is not None:
        lost = connection.execute("DELETE FROM messages").rowcount
        connection.execute("DELETE FROM sealed_values")
        count_unreadable(connection, lost)
    write_setting(connection, _FINGERPRINT, fingerprint)
    write_setting(connection, _IN_KEYRING, int(place is KeyPlace.KEYRING))
    return lost


def count_unreadable(connection: sqlite3.Connection, number: int) -> None:
    """Adds to the number of messages that were deleted unread, within the caller's transaction."""
    if number:
        write_setting(connection, UNREADABLE, (read_setting(connection, UNREADABLE) or 0) + number)


def _delete_all(connection: sqlite3.Connection, *, with_key: bool) -> None:
    connection.execute("DELETE FROM messages")
    connection.execute("DELETE FROM sealed_values")
    for name in (_FINGERPRINT, _IN_KEYRING, UNREADABLE) if with_key else (UNREADABLE,):
        write_setting(connection, name, None)


def _is_empty(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM sealed_values)")
    return not found.fetchone()[0]


def wipe_log(
    path: Path, key_path: Path | None = None, *, key_store: KeyStore | None = None, with_key: bool = False
) -> int:
    """`TypingLog.wipe` for a log that need not be opened: it asks for no key, so that a lost one stands in no way.

    Returns:
      How many messages were deleted.

    Raises:
      UnusableKey: `with_key`, and the key store cannot be reached; nothing was deleted.
      sqlite3.OperationalError: another process holds the log for too long.
      OSError: the directory cannot be written.

    """
    vault = Vault(path, key_path, key_store, time.time)
    try:
        return vault.wipe(with_key=with_key)
    finally:
        vault.file.close()
