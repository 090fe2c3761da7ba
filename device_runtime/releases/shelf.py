"""The releases on a device's disk: the present one, the one before it, and which are not wanted."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.releases.release import KNOWN_FILES, IncompleteRelease, Release, open_release, save_release
from device_runtime.storage.files import write_atomically
from protocol.decoding import decode_json
from protocol.errors import MalformedMessage, ProtocolError
from protocol.manifest import SignedManifest

_STATE_FILE = "releases.json"
_MAX_REFUSED = 100
_logger = logging.getLogger(__name__)

ReleaseName = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,16}-[0-9a-f]{16}\Z")]
"""Of a folder: the model's version and the beginning of the manifest's SHA-256."""


class NoRelease(Exception):
    """A device without a release, or without one to go back to."""


class ShelfState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the present release, of the one before it, and of those that are not wanted, newest last."""

    current: ReleaseName | None = None
    previous: ReleaseName | None = None
    refused: tuple[ReleaseName, ...] = ()


class ReleaseShelf:
    """A folder of releases. Each has a folder of its own; one small file, replaced atomically, names the present one.

    Guarantees:
      A process that is killed at any moment leaves the old release or the new one, never a mixture. What is read is
      verified again, so that a damaged or truncated file is never suggested with.
    """

    def __init__(self, folder: Path, public_key: Ed25519PublicKey, population: str):
        """Takes a folder, which need not exist, and what its releases must be signed by and for."""
        self.folder = folder
        self._public_key = public_key
        self._population = population

    def state(self) -> ShelfState:
        """What is kept. A damaged file counts as an empty one, with a warning: the next release is adopted anew."""
        try:
            return decode_json((self.folder / _STATE_FILE).read_bytes(), ShelfState, "state of releases")
        except FileNotFoundError:
            return ShelfState()
        except MalformedMessage:
            _logger.warning("the list of releases was damaged and begins anew")
            return ShelfState()

    def open(self, name: ReleaseName | None) -> Release | None:
        """A kept release, verified again; None if there is none or it is damaged."""
        if name is None:
            return None
        try:
            return open_release(self.folder / name, self._public_key, population=self._population)
        except (IncompleteRelease, ProtocolError, OSError) as error:
            _logger.warning("release %s on disk is not usable: %s", name, type(error).__name__)
            return None

    def current(self) -> Release:
        """The release to suggest with: the present one, or the one before it if its files are damaged.

        Raises:
          NoRelease: there is none that is whole.

        """
        state = self.state()
        for name in (state.current, state.previous):
            release = self.open(name)
            if release is not None:
                return release
        raise NoRelease(f"population {self._population} must have a release on this device, got none")

    def adopt(self, name: ReleaseName, signed: SignedManifest, release: Release) -> None:
        """Writes a release and makes it the present one; the present one becomes the one before it.

        Raises:
          OSError: the folder cannot be written.

        """
        files = {file: getattr(release, file) for file in KNOWN_FILES if file in release.manifest.files}
        save_release(self.folder / name, signed, files, self._public_key)
        state = self.state()
        before = state.previous if state.current == name else state.current
        self._write(ShelfState(current=name, previous=before, refused=state.refused))

    def refuse(self, name: ReleaseName) -> None:
        """Remembers that a release is not wanted.

        Raises:
          OSError: the folder cannot be written.

        """
        state = self.state()
        self._write(msgspec.structs.replace(state, refused=_with(state.refused, name)))

    def rollback(self) -> Release:
        """Goes back to the release before the present one, which is not wanted any more.

        Raises:
          NoRelease: there is none before it, or it is damaged.
          OSError: the folder cannot be written.

        """
        state = self.state()
        release = self.open(state.previous)
        if release is None:
            raise NoRelease("going back needs a release before the present one, got none")
        self._write(ShelfState(current=state.previous, refused=_with(state.refused, state.current)))
        return release

    def _write(self, state: ShelfState) -> None:
        """Commits a state, and deletes the releases that it does not name."""
        write_atomically(self.folder / _STATE_FILE, msgspec.json.encode(state))
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in (state.current, state.previous):
                shutil.rmtree(path, ignore_errors=True)


def _with(refused: tuple[ReleaseName, ...], name: ReleaseName | None) -> tuple[ReleaseName, ...]:
    return refused if name is None or name in refused else (*refused, name)[-_MAX_REFUSED:]
