"""Files that survive kill -9, and bytes that only this device can read."""

import contextlib
import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
"""Of an AES-256 key."""

_NONCE_BYTES = 12


class UnusableKey(Exception):
    """A key that cannot be had: damaged, readable by others than its owner, or in a store that cannot be reached."""


class UnreadableData(Exception):
    """Sealed bytes that this key does not open: damaged, moved, or sealed by another key."""


class AlreadyRunning(Exception):
    """Another process does this already."""


def private_directory(path: Path) -> Path:
    """Creates `path`, readable by its owner only, if it is missing, and returns it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file of mode 0600 that is there whole or not at all, whenever the process dies.

    Args:
      path: replaced if it exists.
      content: the whole file.
      durable: wait for the disk, so that not even a power cut undoes it; needless for what is checked when it is read
        and can be had again.

    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """A file's name lies in its directory, which reaches the disk in its own time."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`; the system releases it when the process ends, however it ends.

    Raises:
      AlreadyRunning: another process holds it.

    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"only one process may use {path.parent}, and another does") from None
        yield


@contextlib.contextmanager
def directory_lock(path: Path) -> Iterator[None]:
    """Waits until no other holder is inside, in this process or another; the system releases it when a holder dies.

    The directory itself is locked, so no lock file lies about. Not re-entrant: who holds it must not ask again.
    """
    descriptor = os.open(private_directory(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Sealer:
    """Seals bytes with AES-256-GCM under one key."""

    def __init__(self, key: bytes):
        """Takes a key of `KEY_BYTES` bytes, from `device_runtime.storage.keys`.

        Raises:
          UnusableKey: it has another length.

        """
        if len(key) != KEY_BYTES:
            raise UnusableKey(f"a key must have {KEY_BYTES} bytes, got {len(key)}")
        self._cipher = AESGCM(key)
        digest = hmac.digest(key, b"keychorus/key-fingerprint/v1", "sha256")
        self.fingerprint: Final = int.from_bytes(digest[:8], "big", signed=True)
        """Tells keys apart without telling anything of the key; fits an integer of SQLite."""

    def seal(self, content: bytes, context: bytes) -> bytes:
        """Encrypts `content`; `context` says what it is and is needed to open it, so that no two can be swapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypts what `seal` gave for the same `context`.

        Raises:
          UnreadableData: damaged, sealed by another key, or for another context.

        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise UnreadableData("sealed data must be whole and sealed by this device's key") from None
