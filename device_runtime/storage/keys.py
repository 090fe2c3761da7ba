"""Where keys are kept: a file of mode 0600, or the keyring of the operating system. Never beside what they seal.

A damaged key opens nothing any more, so it is set aside and a new one is made: the device goes on. A key that others
may read, or a keyring that does not answer, is left alone and told: the person can mend that.
"""

import base64
import binascii
import contextlib
import enum
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from device_runtime.storage.files import KEY_BYTES, UnusableKey, directory_lock, private_directory, write_atomically

KEYRING_SERVICE = "keychorus"

_logger = logging.getLogger(__name__)


class KeyPlace(enum.StrEnum):
    """The kinds of store that a person can choose from."""

    FILE = "file"
    KEYRING = "keyring"


class KeyStore(Protocol):
    """Keeps one key of `KEY_BYTES` bytes."""

    @property
    def place(self) -> KeyPlace:
        """What kind of store it is."""

    def load(self) -> bytes | None:
        """The key; None if there is none, or if what was there is no key (it is then set aside or overwritten).

        Raises:
          UnusableKey: the store cannot be reached, or is not safe.

        """

    def save(self, key: bytes) -> None:
        """Keeps `key` for good.

        Raises:
          UnusableKey: the store cannot be reached.
          OSError: the disk cannot be written.

        """

    def delete(self) -> None:
        """Forgets the key, if there is one.

        Raises:
          UnusableKey: the store cannot be reached.

        """


class FileKeyStore:
    """A key in a file of its own that only its owner may read."""

    place = KeyPlace.FILE

    def __init__(self, path: Path):
        self._path = path

    def load(self) -> bytes | None:
        """See `KeyStore`. A file that is no key is renamed to `<name>.damaged`, with a warning.

        Raises:
          UnusableKey: others than its owner may read the file.
          OSError: the file cannot be read.

        """
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                key = file.read(KEY_BYTES + 1)
        except FileNotFoundError:
            return None
        if mode & 0o077:
            raise UnusableKey(f"key file {self._path} must have mode 0600, got {mode & 0o777:04o}")
        if len(key) == KEY_BYTES:
            return key
        aside = self._path.with_name(f"{self._path.name}.damaged")
        self._path.replace(aside)
        _logger.warning("key file %s is damaged and was set aside as %s; a new key is made", self._path, aside.name)
        return None

    def save(self, key: bytes) -> None:
        """See `KeyStore`."""
        private_directory(self._path.parent)
        write_atomically(self._path, key)

    def delete(self) -> None:
        """See `KeyStore`. What was set aside goes, too: a part of a key may still be guessed from."""
        for path in (self._path, self._path.with_name(f"{self._path.name}.damaged")):
            path.unlink(missing_ok=True)


class KeyringKeyStore:
    """A key in the keyring of the operating system, as base64, since keyrings hold passwords.

    `keyring` is loaded only here: it takes time and memory that devices with a key file need not spend.
    """

    place = KeyPlace.KEYRING

    def __init__(self, name: str):
        """Keeps the key of `name`, which tells several logs of one person apart."""
        self._name = name

    def load(self) -> bytes | None:
        """See `KeyStore`."""
        import keyring

        with _told("read"):
            kept = keyring.get_password(KEYRING_SERVICE, self._name)
        if kept is None:
            return None
        with contextlib.suppress(binascii.Error, ValueError):
            key = base64.b64decode(kept, validate=True)
            if len(key) == KEY_BYTES:
                return key
        _logger.warning("the key in the keyring is damaged; a new key is made")
        return None

    def save(self, key: bytes) -> None:
        """See `KeyStore`."""
        import keyring

        with _told("written"):
            keyring.set_password(KEYRING_SERVICE, self._name, base64.b64encode(key).decode())

    def delete(self) -> None:
        """See `KeyStore`."""
        import keyring
        from keyring.errors import PasswordDeleteError

        with _told("written"), contextlib.suppress(PasswordDeleteError):  # there was none
            keyring.delete_password(KEYRING_SERVICE, self._name)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns what a keyring raises into one sentence without the keyring's own words."""
    from keyring.errors import KeyringError, NoKeyringError

    try:
        yield
    except NoKeyringError:
        raise UnusableKey("the key store `keyring` needs a keyring service, got none; `file` needs nothing") from None
    except KeyringError as error:
        raise UnusableKey(f"the keyring could not be {what}: {type(error).__name__}") from None


def key_store(place: KeyPlace, log_path: Path, key_path: Path | None = None) -> KeyStore:
    """The store that keeps the key of the log at `log_path`: by default a file beside it with the ending `.key`."""
    if place is KeyPlace.KEYRING:
        return KeyringKeyStore(str(log_path.resolve()))
    return FileKeyStore(key_path or log_path.with_suffix(".key"))


def load_or_make_key(store: KeyStore) -> bytes:
    """The key of `store`, a new one from the system's secure randomness if it has none.

    To be called by one process at a time, so under `directory_lock`, or two processes may make two keys.

    Raises:
      UnusableKey: the store cannot be reached, or is not safe.
      OSError: the disk cannot be read or written.

    """
    key = store.load()
    if key is None:
        key = secrets.token_bytes(KEY_BYTES)
        store.save(key)
    return key


def file_key(path: Path) -> bytes:
    """The key in the file at `path`, made if it is missing or damaged; safe for several processes.

    Raises:
      UnusableKey: others than its owner may read the file.
      OSError: the disk cannot be read or written.

    """
    with directory_lock(path.parent):
        return load_or_make_key(FileKeyStore(path))
