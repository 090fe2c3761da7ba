"""Files that survive kill -9, and bytes that only this device can read."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12


class UnusableKey(Exception):
    """A key file that is damaged, or that others than its owner may read."""


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
      durable: wait for the disk; needless for what is checked when it is read and can be had again.

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


class Sealer:
    """Seals bytes with AES-256-GCM under a key that lives in a file of its own."""

    def __init__(self, key_path: Path):
        """Reads the key, or makes one from the system's secure randomness if there is none.

        Raises:
          UnusableKey: the file is no key, or others than its owner may read it.

        """
        if not key_path.exists():
            private_directory(key_path.parent)
            _create_key(key_path)
        if key_path.stat().st_mode & 0o077:
            raise UnusableKey(f"key file {key_path} must have mode 0600, got {key_path.stat().st_mode & 0o777:04o}")
        key = key_path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise UnusableKey(f"key file {key_path} must have {_KEY_BYTES} bytes, got {len(key)}")
        self._cipher = AESGCM(key)

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


def _create_key(path: Path) -> None:
    """Two processes may do this at once: a link to a whole file appears once, and the loser uses the winner's key."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_atomically(temporary, secrets.token_bytes(_KEY_BYTES))
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
